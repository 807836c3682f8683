// Small layers between the products: windows of convolutions, norms, the LSTM's cell, embeddings.
#pragma once
#include <algorithm>

#include "program.h"
#include "quick.h"
#include "vector.h"

// The input of a convolution: `context` samples of `width` channels from `state`, then `times` new ones, optionally
// through ELU, which is quick_elu if `quick`. Its end becomes the next context. Consecutive rows are one signal: each
// row of `out` begins `context` samples before its own and overlaps the next.
struct Window {
  Rows in;
  int64_t times, width, context;
  bool through_elu, quick, consecutive, gives_pairs;  // `out` gets pairs of bfloat16, of an even width
  Rows state, out, plain;                             // `plain`: new samples in pairs, but not through ELU, or null
};

template <typename T>
static void window_of(const Window& p, const Batch& batch) {
  int64_t before = p.context * p.width, fresh = p.times * p.width;
  int rows = batch.end - batch.begin;
  if (p.consecutive) fresh *= rows, rows = 1;
  const int64_t ends = std::min(before, fresh), left = before - ends;  // of the next context, new and old values
  for (int r = batch.begin; r < batch.begin + rows; r++) {
    const float* in = p.in[r];
    T* out = reinterpret_cast<T*>(p.out[r]);
    float* state = before ? p.state[batch.slots[r]] : nullptr;
    Brain* plain = reinterpret_cast<Brain*>(p.plain.data ? p.plain[r] : nullptr);
    by_vectors(before, [=](int64_t i, int n) { store_some(out + i, load_some(state + i, n), n); });
    if (left) std::memmove(state, state + ends, 4 * left);
    with_activation(p.through_elu ? ELU : NONE, p.quick, [=](auto activate) {
      auto see = [=](int64_t i, int n) {
        Vec raw = load_some(in + i, n), v = activate(raw);
        if (plain) store_some(plain + i, raw, n);
        store_some(out + before + i, v, n);
        return v;
      };
      by_vectors(fresh - ends, see);
      by_vectors(ends, [=](int64_t i, int n) { store_some(state + left + i, see(fresh - ends + i, n), n); });
    });
  }
}

static void window(const Window& p, const Batch& batch) {
  p.gives_pairs ? window_of<Brain>(p, batch) : window_of<float>(p, batch);
}

// The input of a transposed convolution over an even number of samples of an even width, through quick_elu and in pairs.
// Each two samples give three: the one before them less the first, the first, and the second less the first.
struct Differences {
  Rows in;
  int64_t times, width;
  bool consecutive;
  Rows state, out;  // `state` has the last sample before, then the last of these
};

static void differences(const Differences& p, const Batch& batch) {
  const int rows = p.consecutive ? 1 : batch.end - batch.begin;
  const int64_t twos = p.times / 2 * (p.consecutive ? batch.end - batch.begin : 1);
  for (int r = batch.begin; r < batch.begin + rows; r++) {
    const float* in = p.in[r];
    Brain* out = reinterpret_cast<Brain*>(p.out[r]);
    float* state = p.state[batch.slots[r]];
    for (int64_t two = 0; two < twos; two++, in += 2 * p.width, out += 3 * p.width)
      by_vectors(p.width, [&](int64_t i, int n) {
        Vec before = load_some(state + i, n), first = quick_elu(load_some(in + i, n));
        Vec second = quick_elu(load_some(in + p.width + i, n));
        store_some(out + i, before - first, n);
        store_some(out + p.width + i, first, n);
        store_some(out + 2 * p.width + i, second - first, n);
        store_some(state + i, second, n);
      });
  }
}

// Each stream's entry in a table.
struct Embed {
  const int32_t* codes;
  int64_t width;
  const float* table;
  Rows out;
};

static void embed(const Embed& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) std::memcpy(p.out[r], p.table + p.codes[r] * p.width, 4 * p.width);
}

// Layer normalisation without bias (arXiv 1607.06450), epsilon 1e-5.
struct Norm {
  Rows in;
  int64_t width;
  const float* weight;
  Rows out;
};

static void norm(const Norm& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) {
    const float* in = p.in[r];
    float* out = p.out[r];
    Vec total[VECS] = {}, square[VECS] = {};
    for (int64_t i = 0; i < p.width; i += PARTS)
      for (int j = 0; j < VECS; j++) total[j] += load(in + i + j * LANES);
    float mean = sum(total) / p.width;
    for (int64_t i = 0; i < p.width; i += PARTS)
      for (int j = 0; j < VECS; j++) {
        Vec off = load(in + i + j * LANES) - mean;
        square[j] = fma(off, off, square[j]);
      }
    float scale = 1.0f / std::sqrt(sum(square) / p.width + 1e-5f);
    for (int64_t i = 0; i < p.width; i += LANES) store(out + i, (load(in + i) - mean) * scale * load(p.weight + i));
  }
}

// The cell of an LSTM, from its gates in torch's order: write, forget, new, show.
struct Cell {
  Rows gates;
  int64_t width;
  Rows cell, hidden, out;
};

static void cell(const Cell& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) {
    const float* gates = p.gates[r];
    float *memory = p.cell[batch.slots[r]], *hidden = p.hidden[batch.slots[r]], *out = p.out[r];
    for (int64_t i = 0; i < p.width; i += LANES) {
      Vec write = sigmoid(load(gates + i)), forget = sigmoid(load(gates + p.width + i));
      Vec fresh = hyperbolic_tangent(load(gates + 2 * p.width + i)), show = sigmoid(load(gates + 3 * p.width + i));
      Vec held = fma(forget, load(memory + i), write * fresh);
      Vec shown = show * hyperbolic_tangent(held);
      store(memory + i, held);
      store(hidden + i, shown);
      store(out + i, shown);
    }
  }
}

// Copies the state of each slot into a workspace.
struct Fetch {
  Rows state;
  int64_t width;
  Rows out;
};

static void fetch(const Fetch& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) std::memcpy(p.out[r], p.state[batch.slots[r]], 4 * p.width);
}

// Copies a workspace into the state of each slot.
struct Keep {
  Rows in;
  int64_t width;
  Rows state;
};

static void keep(const Keep& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) std::memcpy(p.state[batch.slots[r]], p.in[r], 4 * p.width);
}

// Copies the streams of a tile into its workspaces.
struct Enter {
  Rows in;
  int64_t width;
  Rows out;
};

static void enter(const Enter& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) std::memcpy(p.out[r], p.in[r + batch.offset], 4 * p.width);
}

// Copies the streams of a tile out of its workspaces.
struct Leave {
  Rows in;
  int64_t width;
  Rows out;
};

static void leave(const Leave& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) std::memcpy(p.out[r + batch.offset], p.in[r], 4 * p.width);
}

// The index of the largest of `width` values, the first of equal ones.
struct Largest {
  Rows in;
  int64_t width;
  int32_t* codes;  // of each row
};

static inline int32_t place_of_largest(const float* values, int64_t size) {
  Maximum most;
  for (int64_t i = 0; i < size; i += LANES) most.add(load(values + i), i);
  return most.place();
}

static void largest(const Largest& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++)
    p.codes[r] = place_of_largest(p.in[r], p.width);
}

// Adds `in` to `out`.
struct Add {
  Rows in;
  int64_t width;
  Rows out;
};

static void add(const Add& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++)
    for (int64_t i = 0; i < p.width; i += LANES) store(p.out[r] + i, load(p.out[r] + i) + load(p.in[r] + i));
}
