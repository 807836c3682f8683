// The last part of a step: samples of streams with a limit of bandwidth go through its filter (engine/low_pass.py).
#pragma once
#include <algorithm>
#include <cmath>

#include "program.h"
#include "vector.h"

// Filters the streams' samples in place, each stream behind its own history. Sums are exact, because coefficients are
// multiples of 2^-24 and samples integers: their order does not matter, nor whether multiply-adds are fused.
struct LowPass {
  int16_t* samples;        // [streams, times]
  int64_t times, taps;
  const double* filters;   // [limits, taps], the coefficient of the newest sample first
  const int32_t* numbers;  // filter of each slot; negative without a limit
  int16_t* history;        // [slots, taps - 1], the samples before the filter
};

static void low_pass(const LowPass& p, const Batch& batch) {
  constexpr int AT_ONCE = 4 * LANES, MOST = 512;  // output samples whose sums stay in registers; history and samples
  double seen[MOST];
  const int64_t before = p.taps - 1;
  for (int r = batch.begin; r < batch.end; r++) {
    int32_t slot = batch.slots[r];
    if (p.numbers[slot] < 0) continue;
    const double* filter = p.filters + p.numbers[slot] * p.taps;
    int16_t *history = p.history + slot * before, *samples = p.samples + r * p.times;
    std::copy(history, history + before, seen);
    std::copy(samples, samples + p.times, seen + before);
    std::copy(seen + p.times, seen + p.times + before, history);
    for (int64_t first = 0; first < p.times; first += AT_ONCE) {
      double sum[AT_ONCE] = {};
      for (int64_t tap = 0; tap < p.taps; tap++) {
        const double factor = filter[tap], *x = seen + before + first - tap;
        for (int i = 0; i < AT_ONCE; i++) sum[i] = std::fma(factor, x[i], sum[i]);
      }
      for (int i = 0; i < AT_ONCE; i++)
        samples[first + i] = int16_t(std::min(32767.0, std::max(-32768.0, std::nearbyint(sum[i]))));
    }
  }
}
