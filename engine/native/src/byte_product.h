// Matrix products in 8 bits with sums in 32, which are exact in any order: the same bits on every processor.
//
// Weights [N, K] are whole numbers from -127 to 127 times a scale for each output, in panels of PANEL outputs and groups
// of GROUP inputs: [ceil(N / PANEL)][K / GROUP][PANEL][GROUP]. Each stream's inputs are rounded when they are multiplied,
// to 256 numbers at equal distances from their lowest to their highest, so no result depends on the other streams.
#pragma once
#include <algorithm>
#include <vector>

#include "linear.h"

// A group of inputs has 32 bits, since processors add up the products of one to a lane of 32 bits. Inputs are numbers
// from 0 to 255, less LESS: x86 multiplies unsigned bytes by signed ones, ARM signed ones. Elsewhere they have 16 bits.
#if LANES == 16 && defined(__AVX512VNNI__)
typedef uint8_t Whole;
constexpr int LESS = 0;
#elif LANES == 4 && defined(__ARM_FEATURE_DOTPROD)
typedef int8_t Whole;
constexpr int LESS = 128;
#else
typedef int16_t Whole;
constexpr int LESS = 0;
#endif
constexpr int GROUP = 4 / sizeof(Whole);

// A product over `times` rows for each stream, with rows as in Linear; `inputs` and `step` are multiples of 4, and a
// stream has at least 16 inputs.
struct ByteProduct {
  Rows in;
  int64_t times, step, inputs, outputs;
  const int8_t* weights;
  const float *scales, *sums, *bias;  // of each output, padded to whole panels: `sums` of its rounded weights
  Rows out;                           // row t at t * outputs
  int activation;
  bool add;  // whether to add the values in `out`, before the activation
};

// A vector of groups of bytes. GCC has many instructions for a conversion that AVX2 has one for.
static inline VecInt load_group(const int8_t* p) {
#if LANES == 16 && defined(__AVX512BW__) && !defined(__AVX512VNNI__)
  return (VecInt)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif LANES == 8 && defined(__AVX2__)
  return (VecInt)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  typedef int8_t Bytes __attribute__((vector_size(GROUP * LANES), aligned(1), may_alias));
  typedef Whole Wholes __attribute__((vector_size(4 * LANES)));
  return (VecInt)__builtin_convertvector(*reinterpret_cast<const Bytes*>(p), Wholes);
#endif
}
static inline VecInt broadcast(const Whole* group) {
  int32_t all;
  std::memcpy(&all, group, sizeof all);
  return all - VecInt{};
}

// c plus the products of each lane's group
static inline VecInt multiply_add(VecInt inputs, VecInt weights, VecInt c) {
#if LANES == 16 && defined(__AVX512VNNI__)
  return (VecInt)_mm512_dpbusd_epi32((__m512i)c, (__m512i)inputs, (__m512i)weights);
#elif LANES == 4 && defined(__ARM_FEATURE_DOTPROD)
  return (VecInt)vdotq_s32((int32x4_t)c, (int8x16_t)inputs, (int8x16_t)weights);
#elif LANES == 16 && defined(__AVX512BW__)
  return c + (VecInt)_mm512_madd_epi16((__m512i)inputs, (__m512i)weights);
#elif LANES == 8 && defined(__AVX2__)
  return c + (VecInt)_mm256_madd_epi16((__m256i)inputs, (__m256i)weights);
#else
  return c + (inputs << 16 >> 16) * (weights << 16 >> 16) + (inputs >> 16) * (weights >> 16);
#endif
}

// How a stream's inputs are rounded: number q is low + q * scale.
struct Rounding {
  float low, scale;
};

// Rounds `size` values, and writes up to PARTS - 1 more; NaN and infinity make the scale NaN.
static Rounding round_inputs(const float* in, int64_t size, Whole* out) {
  typedef Whole Numbers __attribute__((vector_size(sizeof(Whole) * LANES), aligned(1), may_alias));
  Vec lows = broadcast(in[0]), highs = lows, zeros = {};
  by_vectors(size, [&](int64_t i, int n) {
    Vec v = n == LANES ? load(in + i) : load(in + size - LANES);
    lows = smaller(v, lows), highs = larger(v, highs), zeros += v * 0.0f;
  });
  float low[LANES], high[LANES], zero[LANES];
  store(low, lows), store(high, highs), store(zero, zeros);
  for (int apart = LANES / 2; apart > 0; apart /= 2)
    for (int i = 0; i < apart; i++) {
      low[i] = std::min(low[i], low[i + apart]), high[i] = std::max(high[i], high[i + apart]);
      zero[i] += zero[i + apart];
    }
  const float range = high[0] - low[0], factor = range > 1e-30f ? 255.0f / range : 0.0f;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  by_vectors(size, [&](int64_t i, int n) {
    VecInt whole = (VecInt)((load_some(in + i, n) - low[0]) * factor + magic) - (0x4b400000 + LESS);
    *reinterpret_cast<Numbers*>(out + i) = __builtin_convertvector(whole, Numbers);
  });
  return {low[0], range / 255.0f + zero[0]};
}

// The streams' inputs in 8 bits, in memory that each thread keeps.
struct Wholes {
  const Whole* data;
  int64_t stride;
  const Rounding* roundings;
};

static Wholes in_wholes(const ByteProduct& p, const Batch& batch) {
  static thread_local std::vector<Whole> kept;
  static thread_local std::vector<Rounding> roundings;
  int64_t size = (p.times - 1) * p.step + p.inputs, stride = (size + PARTS - 1) / PARTS * PARTS;
  size_t rows = batch.end - batch.begin;
  if (kept.size() < rows * stride) kept.resize(rows * stride);
  if (roundings.size() < rows) roundings.resize(rows);
  for (size_t r = 0; r < rows; r++) roundings[r] = round_inputs(p.in[batch.begin + r], size, &kept[r * stride]);
  return {kept.data(), stride, roundings.data()};
}

struct ByteRow {
  const Whole* in;
  Rounding rounding;
  float* out;
};

template <int ROWS, int PANELS>
static void byte_block(const ByteProduct& p, const ByteRow* rows, int64_t first) {
  constexpr int VECTORS = 2 * PANELS;
  const int8_t* weights = p.weights + first * p.inputs;
  VecInt totals[ROWS][VECTORS] = {};
  for (int64_t k = 0; k < p.inputs; k += GROUP)
#pragma GCC unroll 4
    for (int j = 0; j < PANELS; j++) {
      const int8_t* group = weights + (j * p.inputs + k) * PANEL;
      VecInt low = load_group(group), high = load_group(group + LANES * GROUP);
#pragma GCC unroll 12
      for (int i = 0; i < ROWS; i++) {
        VecInt x = broadcast(rows[i].in + k);
        totals[i][2 * j] = multiply_add(x, low, totals[i][2 * j]);
        totals[i][2 * j + 1] = multiply_add(x, high, totals[i][2 * j + 1]);
      }
    }
  const int64_t count = std::min<int64_t>(p.outputs - first, VECTORS * LANES);
  float results[ROWS][VECTORS * LANES];
#pragma GCC unroll 8
  for (int j = 0; j < VECTORS; j++) {
    const int64_t n = first + j * LANES;
    const Vec sums = load(p.sums + n), scales = load(p.scales + n), bias = load(p.bias + n);
    const VecInt less = LESS * __builtin_convertvector(sums, VecInt);
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++) {
      Vec total = __builtin_convertvector(totals[i][j] + less, Vec) * rows[i].rounding.scale;
      store(results[i] + j * LANES, fma(fma(sums, broadcast(rows[i].rounding.low), total), scales, bias));
    }
  }
  with_activation(p.activation, true, [&](auto activate) {
    for (int i = 0; i < ROWS; i++)
      by_vectors(count, [&](int64_t n, int some) {
        float* to = rows[i].out + first + n;
        Vec v = load(results[i] + n);
        if (p.add) v += load_some(to, some);
        store_some(to, activate(v), some);
      });
  });
}

// Calls the block for `count` rows, with the number of panels that suits them or with one.
template <int ROWS = MOST_ROWS>
static void byte_rows(const ByteProduct& p, int count, int64_t panels, const ByteRow* rows, int64_t first) {
  if constexpr (ROWS > 1)
    if (count < ROWS) return byte_rows<ROWS - 1>(p, count, panels, rows, first);
  constexpr int WIDE = panels_at_once(ROWS);
  panels == WIDE ? byte_block<ROWS, WIDE>(p, rows, first) : byte_block<ROWS, 1>(p, rows, first);
}

static void byte_product(const ByteProduct& p, const Batch& batch) {
  const Wholes wholes = in_wholes(p, batch);
  int64_t rows = (batch.end - batch.begin) * p.times, panels = (p.outputs + PANEL - 1) / PANEL;
  int64_t parts = (rows + MOST_ROWS - 1) / MOST_ROWS, wide = panels_at_once(int(std::min<int64_t>(rows, MOST_ROWS)));
  for (int64_t panel = 0; panel < panels;) {
    int64_t taken = panels - panel >= wide ? wide : 1, stream = 0, time = 0;
    for (int64_t part = 0, done = 0; part < parts; part++) {
      int count = int((rows - done + parts - part - 1) / (parts - part));
      ByteRow some[MOST_ROWS];
      for (int i = 0; i < count; i++) {
        const Whole* in = wholes.data + stream * wholes.stride + time * p.step;
        some[i] = {in, wholes.roundings[stream], p.out[batch.begin + stream] + time * p.outputs};
        if (++time == p.times) time = 0, stream++;
      }
      byte_rows(p, count, taken, some, panel * PANEL);
      done += count;
    }
    panel += taken;
  }
}
