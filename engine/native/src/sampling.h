// Drawing of codes by the rules of engine/model/sampling.py, and the output of a step.
#pragma once
#include <algorithm>
#include <limits>

#include "layers.h"
#include "program.h"
#include "vector.h"

constexpr int64_t MOST_CODES = 1024;

struct Sample {
  Rows logits;  // of each slot
  int64_t size;
  const int64_t *seed, *frame;  // of each slot, as all below
  const float* temperature;
  const int64_t* top_k;
  const float* top_p;
  int32_t* codes;  // of each stream
};

static const uint64_t GOLDEN = 0x9E3779B97F4A7C15u;

// The finaliser of splitmix64 (Steele, Lea, Flood 2014).
static inline uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Key of the noise of all codes of a codebook, a function of seed, frame and codebook alone.
static inline uint64_t noise_key(uint64_t seed, uint64_t frame, uint64_t codebook) {
  return mixed(mixed(seed + GOLDEN) + (frame * 64 + codebook) * GOLDEN);
}

// Uniform numbers in 0 … 1 of LANES codes from `first` on.
static inline Vec uniform_noise(uint64_t key, int64_t first) {
  float uniform[LANES];
  for (int64_t i = 0; i < LANES; i++)
    uniform[i] = (float(int32_t(mixed(key + (first + i + 1) * GOLDEN) >> 41)) + 0.5f) * 0x1p-23f;
  return load(uniform);
}

// Standard Gumbel noise of these numbers, within -2.9 … 16.7.
static inline Vec gumbel_noise(Vec uniform) { return -logarithm(-logarithm(uniform)); }
constexpr float NOISE_RANGE = 20.0f;

// A number above their Gumbel noise: -log(-log(u)) < -log(1 - u), and a float's bits are a lower bound of its logarithm.
static inline Vec above_noise(Vec uniform) {
  return __builtin_convertvector((VecInt)(1.0f - uniform) - 0x3f800000, Vec) * (-0.69314718f / 0x1p23f);
}

// The code with the largest sum of score and noise. Noise is computed where it can make a code the largest.
static int32_t with_noise(const float* scores, int64_t size, float temperature, uint64_t key) {
  Vec tops = broadcast(-INFINITY);
  for (int64_t i = 0; i < size; i += LANES) tops = larger(load(scores + i), tops);
  const float top = largest_lane(tops), least = top - NOISE_RANGE * temperature;
  float needed = -INFINITY;  // the largest sum so far, less a margin for rounding
  Maximum most;
  for (int64_t i = 0; i < size; i += LANES) {
    Vec score = load(scores + i);
    if (!any(score >= least)) continue;
    Vec uniform = uniform_noise(key, i);
    if (!any(fma(above_noise(uniform), broadcast(temperature), score) >= needed)) continue;
    most.add(score + gumbel_noise(uniform) * temperature, i);
    float best = largest_lane(most.values);
    needed = best - 1e-6f * (std::fabs(best) + std::fabs(top) + 32.0f * temperature);
  }
  return most.place();
}

// Sorts codes by falling scores, none of them NaN, and equal scores by code: eight bits a pass, the lowest first.
static void sort_codes(const float* scores, int64_t size, int32_t* order) {
  uint32_t keys[MOST_CODES];
  int32_t other[MOST_CODES], *from = order, *to = other;
  for (int64_t i = 0; i < size; i++) {
    float score = scores[i] + 0.0f;  // no negative zero
    std::memcpy(&keys[i], &score, 4);
    keys[i] = keys[i] >> 31 ? keys[i] : keys[i] ^ 0x7fffffffu;
    order[i] = int32_t(i);
  }
  for (int shift = 0; shift < 32; shift += 8) {
    int32_t ends[257] = {};
    for (int64_t i = 0; i < size; i++) ends[(keys[i] >> shift & 255) + 1]++;
    for (int i = 0; i < 256; i++) ends[i + 1] += ends[i];
    for (int64_t i = 0; i < size; i++) to[ends[keys[from[i]] >> shift & 255]++] = from[i];
    std::swap(from, to);
  }
}

// Returns how many of the likeliest codes stay in, at least one; `order` becomes the codes by falling score.
static int64_t allowed(const float* scores, int64_t size, int64_t top_k, float top_p, int32_t* order) {
  sort_codes(scores, size, order);
  int64_t kept = top_k > 0 && top_k < size ? top_k : size;
  float highest = scores[order[0]], total = 0, before = 0;
  float odds[MOST_CODES];
  for (int64_t i = 0; i < size; i += LANES) store(odds + i, exponential(load(scores + i) - highest));
  for (int64_t i = 0; i < size; i++) total += odds[order[i]];
  int64_t likely = 0;
  while (likely < kept && (likely == 0 || before < top_p || top_p >= 1.0f)) before += odds[order[likely++]] / total;
  return likely;
}

static void sample(const Sample& p, const Batch& batch) {
  float scores[MOST_CODES], noise[MOST_CODES];
  int32_t order[MOST_CODES];
  for (int r = batch.begin; r < batch.end; r++) {
    int32_t slot = batch.slots[r];
    const float* logits = p.logits[slot];
    float temperature = p.temperature[slot];
    if (!(temperature > 0)) {
      p.codes[r] = place_of_largest(logits, p.size);
      continue;
    }
    float divisor = temperature < 1e-4f ? 1e-4f : temperature;
    for (int64_t i = 0; i < p.size; i += LANES) {
      Vec score = load(logits + i) / divisor;
      store(scores + i, select(score == score, score, broadcast(-INFINITY)));  // sorting needs an order: no NaN
    }
    uint64_t key = noise_key(p.seed[slot], p.frame[slot], 0);
    if ((p.top_k[slot] <= 0 || p.top_k[slot] >= p.size) && p.top_p[slot] >= 1.0f) {
      p.codes[r] = with_noise(scores, p.size, 1.0f, key);
      continue;
    }
    for (int64_t i = 0; i < p.size; i += LANES) store(noise + i, gumbel_noise(uniform_noise(key, i)));
    int64_t kept = allowed(scores, p.size, p.top_k[slot], p.top_p[slot], order);
    float best = -INFINITY;
    p.codes[r] = order[0];
    for (int64_t i = 0; i < kept; i++) {
      float score = scores[order[i]] + noise[order[i]];
      if (score > best) best = score, p.codes[r] = order[i];
    }
  }
}

// Draws the code of a finer codebook from all codes; greedy where the coarse code is.
struct Draw {
  Rows logits;  // of each stream
  int64_t size;
  const int64_t *seed, *frame;  // of each slot
  const float* coarse_temperature;
  float temperature;
  int64_t codebook;
  int32_t* codes;  // of each stream
};

static void draw(const Draw& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) {
    int32_t slot = batch.slots[r];
    uint64_t key = noise_key(p.seed[slot], p.frame[slot], p.codebook);
    p.codes[r] = p.coarse_temperature[slot] > 0 ? with_noise(p.logits[r], p.size, p.temperature, key)
                                                : place_of_largest(p.logits[r], p.size);
  }
}

// Converts samples in -1 … 1 to 16 bits, clipped at full scale; `finite`: whether all of a stream's are finite.
struct Quantize {
  Rows in;
  int64_t times;
  int16_t* out;  // [streams, times]
  uint8_t* finite;  // [streams]
};

static void quantize(const Quantize& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) {
    bool finite = true;
    for (int64_t i = 0; i < p.times; i++) {
      finite &= std::fabs(p.in[r][i]) <= std::numeric_limits<float>::max();
      p.out[r * p.times + i] = int16_t(std::nearbyint(std::min(1.0f, std::max(-1.0f, p.in[r][i])) * 32767.0f));
    }
    p.finite[r] = finite;
  }
}

// Adds one to the slots' positions and, while they generate, to their frames.
struct Advance {
  int64_t *frame, *position;  // frame may be null
};

static void advance(const Advance& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) {
    if (p.frame) p.frame[batch.slots[r]]++;
    p.position[batch.slots[r]]++;
  }
}
