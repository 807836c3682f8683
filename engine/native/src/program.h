// A program: a list of kernels with their addresses, built once and run for any batch of slots.
#pragma once
#include <algorithm>
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
// In a program for prompts the rows are consecutive frames of one stream, from its first one.
struct Batch {
  int begin, end;
  const int32_t* slots;
  int offset = 0;  // of these streams from those in the same rows outside a tile
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

  // Makes the last `count` operations run row by row, or on the last row alone: each needs what the row before it left.
  void by_row(int count, bool last_alone) {
    std::vector<Operation> grouped(operations.end() - count, operations.end());
    operations.resize(operations.size() - count);
    add([grouped, last_alone](const Batch& batch) {
      for (int r = last_alone ? batch.end - 1 : batch.begin; r < batch.end; r++)
        for (const Operation& operation : grouped) operation.run({r, r + 1, batch.slots});
    });
  }

  // Makes the last `count` operations run on `rows` streams at a time, all in the workspaces of the first ones.
  void in_tiles(int count, int rows) {
    std::vector<Operation> grouped(operations.end() - count, operations.end());
    operations.resize(operations.size() - count);
    add([grouped, rows](const Batch& batch) {
      for (int first = batch.begin; first < batch.end; first += rows) {
        int offset = first - batch.begin, end = std::min(batch.begin + rows, batch.end - offset);
        for (const Operation& operation : grouped) operation.run({batch.begin, end, batch.slots + offset, offset});
      }
    });
  }

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
