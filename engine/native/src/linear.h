// Matrix products with packed weights.
//
// Weights [N, K] lie in panels of PANEL outputs, input by input: [ceil(N / PANEL)][K][PANEL], in half or single
// precision. Each output is one chain of fused multiply-adds from the bias on, first input to last, so it does not
// depend on how many rows are computed together: this is what makes a seed's codes the same in any company.
#pragma once
#include "program.h"
#include "vector.h"

constexpr int PANEL = 2 * LANES;
constexpr int MOST_ROWS = 6;  // 6 rows of 2 registers, 2 of weights and one broadcast fill AVX2's 16

enum Activation { NONE = 0, GELU = 1, ELU = 2 };

// A product over `times` rows for each stream; row t of the input starts at t * step, and may overlap the next.
struct Linear {
  Rows in;
  int64_t times, step, inputs, outputs;
  const void* weights;
  bool half;  // what they are stored in
  const float* bias;  // padded to whole panels
  Rows out;           // row t at t * outputs
  int activation;
  bool add;  // to what `out` holds, before the activation
};

static inline Vec activate(Vec v, int activation) {
  return activation == GELU ? gelu(v) : activation == ELU ? elu(v) : v;
}

template <typename Weight, int ROWS, int PANELS>
static void block(const Linear& p, const float* const* in, float* const* out, int64_t first) {
  const Weight* weights[PANELS];
  Vec totals[ROWS][PANELS][2];
  for (int j = 0; j < PANELS; j++) {
    weights[j] = static_cast<const Weight*>(p.weights) + (first / PANEL + j) * p.inputs * PANEL;
    for (int i = 0; i < ROWS; i++)
      for (int h = 0; h < 2; h++) totals[i][j][h] = load(p.bias + first + j * PANEL + h * LANES);
  }
  for (int64_t k = 0; k < p.inputs; k++)
    for (int j = 0; j < PANELS; j++) {
      Vec low = load(weights[j] + k * PANEL), high = load(weights[j] + k * PANEL + LANES);
      for (int i = 0; i < ROWS; i++) {
        Vec x = broadcast(in[i][k]);
        totals[i][j][0] = fma(x, low, totals[i][j][0]);
        totals[i][j][1] = fma(x, high, totals[i][j][1]);
      }
    }
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < PANELS; j++)
      for (int h = 0; h < 2; h++) {
        int64_t n = first + j * PANEL + h * LANES;
        if (n >= p.outputs) break;
        int count = p.outputs - n < LANES ? int(p.outputs - n) : LANES;
        Vec v = p.add ? totals[i][j][h] + load_some(out[i] + n, count) : totals[i][j][h];
        store_some(out[i] + n, activate(v, p.activation), count);
      }
}

// The block for so many rows and panels.
template <typename Weight>
static void some_rows(const Linear& p, int rows, int64_t panels, const float* const* in, float* const* out, int64_t n) {
  switch (rows) {
    case 1: return panels == 4 ? block<Weight, 1, 4>(p, in, out, n) : block<Weight, 1, 1>(p, in, out, n);
    case 2: return panels == 2 ? block<Weight, 2, 2>(p, in, out, n) : block<Weight, 2, 1>(p, in, out, n);
    case 3: return panels == 2 ? block<Weight, 3, 2>(p, in, out, n) : block<Weight, 3, 1>(p, in, out, n);
    case 4: return block<Weight, 4, 1>(p, in, out, n);
    case 5: return block<Weight, 5, 1>(p, in, out, n);
    default: static_assert(MOST_ROWS == 6); return block<Weight, 6, 1>(p, in, out, n);
  }
}

template <typename Weight>
static void products(const Linear& p, const Batch& batch) {
  int64_t rows = (batch.end - batch.begin) * p.times, panels = (p.outputs + PANEL - 1) / PANEL;
  int64_t parts = (rows + MOST_ROWS - 1) / MOST_ROWS;
  // Few rows take more panels at once, to keep as many sums in flight.
  int64_t wide = rows == 1 ? 4 : rows <= 3 ? 2 : 1;
  // Panels outside: each is read from memory once, and stays in the first cache for all rows.
  for (int64_t panel = 0; panel < panels;) {
    int64_t taken = panels - panel >= wide ? wide : 1, stream = batch.begin, time = 0;
    for (int64_t part = 0, done = 0; part < parts; part++) {
      int count = int((rows - done + parts - part - 1) / (parts - part));
      const float* in[MOST_ROWS];
      float* out[MOST_ROWS];
      for (int i = 0; i < count; i++) {
        in[i] = p.in[stream] + time * p.step;
        out[i] = p.out[stream] + time * p.outputs;
        if (++time == p.times) time = 0, stream++;
      }
      some_rows<Weight>(p, count, taken, in, out, panel * PANEL);
      done += count;
    }
    panel += taken;
  }
}

static void linear(const Linear& p, const Batch& batch) {
  p.half ? products<Half>(p, batch) : products<float>(p, batch);
}
