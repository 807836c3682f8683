// Matrix products with packed weights.
//
// Weights [N, K] lie in panels of PANEL outputs, input by input: [ceil(N / PANEL)][K][PANEL], in half or single
// precision. Each output is one chain of fused multiply-adds from the bias on, first input to last, so it does not
// depend on how many rows are computed together: a seed gives the same codes beside any other streams.
//
// In bfloat16 two inputs make a pair: [ceil(N / PANEL)][K / 2][PANEL] pairs. Inputs are rounded, sums are floats.
#pragma once
#include <algorithm>
#include <type_traits>

#include "program.h"
#include "vector.h"

constexpr int PANEL = 2 * LANES;
// Registers hold two sums for each row and panel, two of weights and a broadcast: AVX2 has 16, AVX-512 and NEON 32.
constexpr int MOST_ROWS = LANES == 8 ? 6 : 12;
constexpr int panels_at_once(int rows) {
  return rows == 1 ? 4 : rows <= MOST_ROWS / 4 ? MOST_ROWS / 3 : rows <= MOST_ROWS / 2 ? 2 : 1;
}

enum Activation { NONE = 0, GELU = 1, ELU = 2 };
enum Stored { SINGLE = 0, HALF = 1, PAIRS = 2 };

// A product over `times` rows for each stream; row t of the input starts at t * step, and may overlap the next. In
// pairs, `inputs` and `step` are even.
struct Linear {
  Rows in;
  int64_t times, step, inputs, outputs;
  const void* weights;
  int stored;  // format of the weights, see Stored
  const float* bias;  // padded to whole panels
  Rows out;           // row t at t * outputs
  int activation;
  bool add;  // whether to add the values in `out`, before the activation
};

static inline Vec activate(Vec v, int activation) {
  return activation == GELU ? gelu(v) : activation == ELU ? elu(v) : v;
}

template <typename Weight>
using Input = std::conditional_t<std::is_same_v<Weight, Pair>, Pair, float>;

// The streams' inputs in the format of the product.
template <typename T>
struct Inputs {
  const T* data;
  int64_t stride, step;
};

// Applies the activation to `count` outputs of each row, in place.
template <int ROWS>
static void activate_rows(float* const* out, int64_t first, int64_t count, int activation) {
  for (int i = 0; i < ROWS; i++)
    by_vectors(count, [=](int64_t n, int some) {
      store_some(out[i] + first + n, activate(load_some(out[i] + first + n, some), activation), some);
    });
}

// Weights that are fetched from memory during a block, `step` bytes for each input: its part of the next panel.
struct Next {
  const char* data;
  int64_t step;
};

template <typename Weight, int ROWS, int PANELS>
static void block(const Linear& p, const Input<Weight>* const* in, float* const* out, int64_t first, Next next) {
  const int64_t inputs = std::is_same_v<Weight, Pair> ? p.inputs / 2 : p.inputs;
  constexpr int VECTORS = 2 * PANELS;
  const Weight* weights = static_cast<const Weight*>(p.weights) + first * inputs;
  Vec totals[ROWS][VECTORS];
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) totals[i][j] = load(p.bias + first + j * LANES);
  for (int64_t k = 0; k < inputs; k++) {
    __builtin_prefetch(next.data + k * next.step, 0, 2);
#pragma GCC unroll 4
    for (int j = 0; j < PANELS; j++) {
      const Weight* row = weights + (j * inputs + k) * PANEL;
      auto low = load(row), high = load(row + LANES);
#pragma GCC unroll 12
      for (int i = 0; i < ROWS; i++) {
        auto x = broadcast(in[i][k]);
        totals[i][2 * j] = fma(x, low, totals[i][2 * j]);
        totals[i][2 * j + 1] = fma(x, high, totals[i][2 * j + 1]);
      }
    }
  }
  const int64_t count = std::min<int64_t>(p.outputs - first, VECTORS * LANES);
  if (count == VECTORS * LANES) {
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) {
        float* to = out[i] + first + j * LANES;
        store(to, p.add ? totals[i][j] + load(to) : totals[i][j]);
      }
  } else {
    float results[ROWS][VECTORS * LANES];
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) store(results[i] + j * LANES, totals[i][j]);
    for (int i = 0; i < ROWS; i++)
      by_vectors(count, [&](int64_t n, int some) {
        float* to = out[i] + first + n;
        Vec v = load(results[i] + n);
        store_some(to, p.add ? v + load_some(to, some) : v, some);
      });
  }
  if (p.activation != NONE) activate_rows<ROWS>(out, first, count, p.activation);
}

// Calls the block for `rows` rows, with the number of panels that suits them or with one.
template <typename Weight, int ROWS = MOST_ROWS>
static void some_rows(const Linear& p, int rows, int64_t panels, const Input<Weight>* const* in, float* const* out,
                      int64_t n, Next next) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return some_rows<Weight, ROWS - 1>(p, rows, panels, in, out, n, next);
  constexpr int WIDE = panels_at_once(ROWS);
  panels == WIDE ? block<Weight, ROWS, WIDE>(p, in, out, n, next) : block<Weight, ROWS, 1>(p, in, out, n, next);
}

constexpr int64_t MOST_AHEAD = 32 << 10;  // bytes of a first cache

template <typename Weight>
static void products(const Linear& p, const Batch& batch, const Inputs<Input<Weight>>& inputs) {
  const char* weights = static_cast<const char*>(p.weights);
  const int64_t depth = std::is_same_v<Weight, Pair> ? p.inputs / 2 : p.inputs, size = depth * PANEL * sizeof(Weight);
  int64_t rows = (batch.end - batch.begin) * p.times, panels = (p.outputs + PANEL - 1) / PANEL;
  if (!rows) return;
  int64_t parts = (rows + MOST_ROWS - 1) / MOST_ROWS, each = rows / parts, longer = rows % parts;
  // Of the next panel, for each part; long ones the processor fetches ahead itself.
  int64_t share = size <= MOST_AHEAD ? size / parts : 0, step = share / depth;
  // Few rows take more panels at once, to keep as many sums in flight.
  int64_t wide = panels_at_once(int(std::min<int64_t>(rows, MOST_ROWS)));
  // The outer loop is over panels: each is read from memory once, and stays in the first cache for all rows.
  for (int64_t panel = 0; panel < panels;) {
    int64_t taken = panels - panel >= wide ? wide : 1, stream = batch.begin, time = 0;
    for (int64_t part = 0; part < parts; part++) {
      int count = int(each + (part < longer));
      const Input<Weight>* in[MOST_ROWS];
      float* out[MOST_ROWS];
      for (int i = 0; i < count; i++) {
        in[i] = inputs.data + (stream - batch.begin) * inputs.stride + time * inputs.step;
        out[i] = p.out[stream] + time * p.outputs;
        if (++time == p.times) time = 0, stream++;
      }
      const Next next = {weights + (panel + taken) * size + part * share, step};
      some_rows<Weight>(p, count, taken, in, out, panel * PANEL, next);
    }
    panel += taken;
  }
}

// The streams' inputs in bfloat16, in memory that each thread keeps.
static Inputs<Pair> in_pairs(const Linear& p, const Batch& batch) {
  static thread_local std::vector<Pair> kept;
  int64_t size = (p.times - 1) * p.step + p.inputs, stride = (size + LANES - 1) / LANES * LANES / 2;
  if (int64_t(kept.size()) < (batch.end - batch.begin) * stride) kept.resize((batch.end - batch.begin) * stride);
  for (int r = batch.begin; r < batch.end; r++) {
    const float* in = p.in[r];
    Brain* out = &kept[(r - batch.begin) * stride].first;
    by_vectors(size, [=](int64_t i, int n) { store_brains(out + i, load_some(in + i, n)); });
  }
  return {kept.data(), stride, p.step / 2};
}

static void linear(const Linear& p, const Batch& batch) {
  if (p.stored == PAIRS) return products<Pair>(p, batch, in_pairs(p, batch));
  const Inputs<float> floats = {p.in[batch.begin], p.in.stride, p.step};
  p.stored == HALF ? products<Half>(p, batch, floats) : products<float>(p, batch, floats);
}
