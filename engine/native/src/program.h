// A program: the frame step as a list of kernels with their addresses, made once and run for any batch of slots.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

// Rows of floats, one for each stream of a step (a workspace) or for each slot (state).
struct Rows {
  float* data;
  int64_t stride;
  float* operator[](int64_t row) const { return data + row * stride; }
};

// Streams `begin` to `end` of a step, and the slot of each of its streams. Threads share a step by disjoint batches.
struct Batch {
  int begin, end;
  const int32_t* slots;
};

struct Program {
  struct Operation {
    int stage;
    std::function<void(const Batch&)> run;
  };
  std::vector<Operation> operations;
  int stage = 0;

  template <typename Fn>
  void add(Fn fn) { operations.push_back({stage, fn}); }

  // Seconds of each stage are added to `seconds`.
  void run(const Batch& batch, double* seconds) const {
    using Clock = std::chrono::steady_clock;
    auto before = Clock::now();
    for (const Operation& operation : operations) {
      operation.run(batch);
      auto now = Clock::now();
      seconds[operation.stage] += std::chrono::duration<double>(now - before).count();
      before = now;
    }
  }
};
