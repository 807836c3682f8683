// Matrix products with packed weights.
//
// Weights [N, K] lie in panels of PANEL outputs, input by input: [ceil(N / PANEL)][K][PANEL], in half or single
// precision. Each output is one chain of fused multiply-adds from the bias on, first input to last, so it does not
// depend on how many rows are computed together: a seed gives the same codes beside any other streams.
//
// In bfloat16 two inputs make a pair: [ceil(N / PANEL)][K / 2][PANEL] pairs, and up to LANES outputs are one panel of
// LANES. Inputs are rounded, sums are floats.
#pragma once
#include <algorithm>
#include <type_traits>

#include "program.h"
#include "quick.h"
#include "vector.h"

constexpr int PANEL = 2 * LANES;
// Registers hold two sums for each row and panel, two of weights and a broadcast: AVX2 has 16, AVX-512 and NEON 32.
constexpr int MOST_ROWS = LANES == 8 ? 6 : 12;
constexpr int panels_at_once(int rows) {
  return rows == 1 ? 4 : rows <= MOST_ROWS / 4 ? MOST_ROWS / 3 : rows <= MOST_ROWS / 2 ? 2 : 1;
}

enum Stored { SINGLE = 0, HALF = 1, PAIRS = 2 };

// A product over `times` rows for each stream; row t of the input starts at t * step, and may overlap the next. In pairs
// more inputs may follow from `more`, where row t starts at t * more_inputs, and all these numbers are even.
struct Linear {
  Rows in;
  int64_t times, step, inputs;
  Rows more;
  int64_t more_inputs, outputs;
  const void* weights;
  int stored;  // format of the weights, see Stored
  const float* bias;  // padded to whole panels
  Rows out, added;    // row t at t * out_step; `added`: values to add before the activation, or null
  int64_t out_step;
  int activation;     // a quick one in pairs
  bool takes_pairs;   // whether `in` holds pairs, as `more` always does where weights are pairs
  bool gives_pairs;   // whether `out` gets pairs
};

template <typename Weight>
constexpr bool IN_PAIRS = std::is_same_v<Weight, Pair>;
template <typename Weight>
using Input = std::conditional_t<IN_PAIRS<Weight>, Pair, float>;

// The streams' inputs in the format of the product.
template <typename T>
struct Inputs {
  const T* data;
  int64_t stride, step, count;
};

// Some rows: their inputs, in pairs two parts, what is added to their outputs, and these.
template <typename T>
struct Some {
  int64_t counts[2];
  const T* in[2][MOST_ROWS];
  const float* added[MOST_ROWS];
  float* out[MOST_ROWS];
};

// Adds, activates and stores `count` of the `width` results of each row, from output `first` on.
template <typename T>
static void finish(const Linear& p, const Some<T>& rows, int many, const float* results, int64_t width, int64_t first,
                   int64_t count) {
  with_activation(p.activation, p.stored == PAIRS, [&](auto activate) {
    for (int i = 0; i < many; i++, results += width)
      by_vectors(count, [&](int64_t n, int some) {
        Vec v = load(results + n);
        if (p.added.data) v += load_some(rows.added[i] + first + n, some);
        v = activate(v);
        if (p.gives_pairs)
          store_some(reinterpret_cast<Brain*>(rows.out[i]) + first + n, v, some);
        else
          store_some(rows.out[i] + first + n, v, some);
      });
  });
}

// Weights that are fetched from memory during a block, `step` bytes for each input: its part of the next panel.
struct Next {
  const char* data;
  int64_t step;
};

// Computes ROWS rows of PANELS panels, or of a panel of LANES if PANELS is 0.
template <typename Weight, int ROWS, int PANELS>
static void block(const Linear& p, const Some<Input<Weight>>& rows, int64_t first, Next next) {
  constexpr int IN_PARTS = IN_PAIRS<Weight> ? 2 : 1;
  const int64_t inputs = rows.counts[0] + (IN_PARTS == 2 ? rows.counts[1] : 0);
  constexpr int WIDE = PANELS ? 2 : 1, VECTORS = PANELS ? 2 * PANELS : 1;  // of a panel, of all
  const Weight* weights = static_cast<const Weight*>(p.weights) + first * inputs;
  Vec totals[ROWS][VECTORS];
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) totals[i][j] = load(p.bias + first + j * LANES);
  for (int part = 0; part < IN_PARTS; part++) {
    const Input<Weight>* const* in = rows.in[part];
    for (int64_t k = 0; k < rows.counts[part]; k++) {
      __builtin_prefetch(next.data + k * next.step, 0, 2);
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j += WIDE) {
        const Weight* row = weights + (j / WIDE * inputs + k) * WIDE * LANES;
        auto low = load(row), high = load(row + (WIDE - 1) * LANES);
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++) {
          auto x = broadcast(in[i][k]);
          totals[i][j] = fma(x, low, totals[i][j]);
          if (WIDE == 2) totals[i][j + WIDE - 1] = fma(x, high, totals[i][j + WIDE - 1]);
        }
      }
    }
    weights += rows.counts[0] * WIDE * LANES, next.data += rows.counts[0] * next.step;
  }
  const int64_t count = std::min<int64_t>(p.outputs - first, VECTORS * LANES);
  if (count == VECTORS * LANES && p.activation == NONE && !p.gives_pairs) {
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) {
        const int64_t n = first + j * LANES;
        store(rows.out[i] + n, p.added.data ? totals[i][j] + load(rows.added[i] + n) : totals[i][j]);
      }
  } else {
    float results[ROWS * VECTORS * LANES];
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) store(results + (i * VECTORS + j) * LANES, totals[i][j]);
    finish(p, rows, ROWS, results, VECTORS * LANES, first, count);
  }
}

// Calls the block for `count` rows, with the number of panels that suits them or with one.
template <typename Weight, int ROWS = MOST_ROWS>
static void some_rows(const Linear& p, int count, int64_t panels, const Some<Input<Weight>>& rows, int64_t n, Next next) {
  if constexpr (ROWS > 1)
    if (count < ROWS) return some_rows<Weight, ROWS - 1>(p, count, panels, rows, n, next);
  constexpr int WIDE = panels_at_once(ROWS);
  if constexpr (IN_PAIRS<Weight>)
    if (p.outputs <= LANES) return block<Weight, ROWS, 0>(p, rows, n, next);
  panels == WIDE ? block<Weight, ROWS, WIDE>(p, rows, n, next) : block<Weight, ROWS, 1>(p, rows, n, next);
}

constexpr int64_t MOST_AHEAD = 32 << 10;  // bytes of a first cache

template <typename Weight>
static void products(const Linear& p, const Batch& batch, const Inputs<Input<Weight>>& in,
                     const Inputs<Input<Weight>>& more = {}) {
  const char* weights = static_cast<const char*>(p.weights);
  const int64_t panel_outputs = IN_PAIRS<Weight> && p.outputs <= LANES ? LANES : PANEL;
  const int64_t depth = in.count + more.count, size = depth * panel_outputs * sizeof(Weight);
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
      Some<Input<Weight>> some;
      some.counts[0] = in.count, some.counts[1] = more.count;
      for (int i = 0; i < count; i++) {
        some.in[0][i] = in.data + (stream - batch.begin) * in.stride + time * in.step;
        if (IN_PAIRS<Weight>) some.in[1][i] = more.data + (stream - batch.begin) * more.stride + time * more.step;
        if (p.added.data) some.added[i] = p.added[stream] + time * p.out_step;
        some.out[i] = p.out[stream] + time * p.out_step / (p.gives_pairs ? 2 : 1);
        if (++time == p.times) time = 0, stream++;
      }
      const Next next = {weights + (panel + taken) * size + part * share, step};
      some_rows<Weight>(p, count, taken, some, panel * PANEL, next);
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
  return {kept.data(), stride, p.step / 2, p.inputs / 2};
}

static void linear(const Linear& p, const Batch& batch) {
  if (p.stored == PAIRS) {
    auto pairs = [&](const Rows& rows) { return reinterpret_cast<const Pair*>(rows[batch.begin]); };
    const Inputs<Pair> in = {pairs(p.in), p.in.stride, p.step / 2, p.inputs / 2};
    const Inputs<Pair> more = {pairs(p.more), p.more.stride, p.more_inputs / 2, p.more_inputs / 2};
    return products<Pair>(p, batch, p.takes_pairs ? in : in_pairs(p, batch), more);
  }
  const Inputs<float> floats = {p.in[batch.begin], p.in.stride, p.step, p.inputs};
  p.stored == HALF ? products<Half>(p, batch, floats) : products<float>(p, batch, floats);
}
