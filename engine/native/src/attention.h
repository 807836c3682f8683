// Attention of one new position for each stream, over the ring of its last keys and values; or of consecutive ones.
#pragma once
#include <algorithm>

#include "program.h"
#include "vector.h"

struct Attention {
  Rows in;  // queries of all heads, keys, values: [heads + 2 * kv_heads, width]
  int64_t heads, kv_heads, width, ring;
  const float *cosine, *sine;  // [period, width / 2]
  int64_t period;
  const int64_t* position;   // of each slot
  Rows keys, values;         // of each slot: [kv_heads, ring, width], floats or bfloat16
  bool brains;               // which of these
  Rows turned, scores, out;  // workspaces [heads + 1, width] and [ring, heads]; out [heads, width]
  bool consecutive;          // rows are positions of one stream, `position` being that of row 0
};

constexpr int64_t AHEAD = 3 * LANES;  // places

// Turns each pair of a head by its angle (arXiv 2104.09864).
static inline void turn(const float* in, const float* cosine, const float* sine, int64_t pairs, float scale, float* out) {
  for (int64_t i = 0; i < pairs; i++) {
    float a = in[2 * i], b = in[2 * i + 1];
    out[2 * i] = (a * cosine[i] - b * sine[i]) * scale;
    out[2 * i + 1] = (a * sine[i] + b * cosine[i]) * scale;
  }
}

// A stream's keys and values are long out of the caches when its turn comes again, and every few of them lie on a page
// of their own, where the processor's own foresight ends.
template <typename Kept>
static inline void fetch_ahead(const Kept* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / sizeof(Kept)) __builtin_prefetch(from + i, 0, 2);
}

static inline void put(float* out, const float* in, int64_t width) { std::memcpy(out, in, 4 * width); }
static inline void put(Brain* out, const float* in, int64_t width) {
  for (int64_t i = 0; i < width; i += LANES) store_brains(out + i, load(in + i));
}

// Scores [filled, HEADS]: as many places at once as give a whole vector of them.
template <int HEADS, typename Kept>
static void scores_of(const Attention& p, const float* queries, const Kept* keys, const Kept* values, int64_t filled,
                      float* scores) {
  constexpr int AT_ONCE = LANES / HEADS;
  for (int64_t place = 0; place < filled; place += AT_ONCE) {
    fetch_ahead(keys + std::min(place + AHEAD, p.ring - AT_ONCE) * p.width, AT_ONCE * p.width);
    fetch_ahead(values + std::min(place, p.ring - AT_ONCE) * p.width, AT_ONCE * p.width);  // they come next
    const Kept* key[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++) key[i] = keys + std::min(place + i, p.ring - 1) * p.width;
    Vec products[LANES];
    for (int i = 0; i < LANES; i++) products[i] = load(queries + i % HEADS * p.width) * load(key[i / HEADS]);
    for (int64_t d = LANES; d < p.width; d += LANES)
      for (int i = 0; i < LANES; i++)
        products[i] = fma(load(queries + i % HEADS * p.width + d), load(key[i / HEADS] + d), products[i]);
    store_some(scores + place * HEADS, sums(products), int(std::min<int64_t>(LANES, (filled - place) * HEADS)));
  }
}

// Exponentials of the scores, in place, and what makes those of each head add up to one.
template <int HEADS>
static void softmax(float* scores, int64_t filled, float* scale) {
  Vec most = broadcast(-INFINITY), total{}, highest;
  by_vectors(filled * HEADS, [&](int64_t i, int n) {
    Vec v = broadcast(-INFINITY);
    std::memcpy(&v, scores + i, 4 * n);
    most = larger(v, most);
  });
  for (int i = 0; i < LANES; i++) {
    highest[i] = most[i];
    for (int j = i % HEADS; j < LANES; j += HEADS) highest[i] = std::max(highest[i], most[j]);
  }
  by_vectors(filled * HEADS, [&](int64_t i, int n) {
    store_some(scores + i, exponential(load_some(scores + i, n) - highest), n);
    total += load_some(scores + i, n);
  });
  for (int h = 0; h < HEADS; h++) {
    float all = 0;
    for (int i = h; i < LANES; i += HEADS) all += total[i];
    scale[h] = 1.0f / all;
  }
}

// A few places at a time, so that each value is read from memory once, whole, and then from the first cache.
constexpr int64_t PLACES = 32;

template <int HEADS, typename Kept>
static void mix(const Attention& p, const float* weights, const float* scale, const Kept* values, int64_t filled, float* out) {
  std::memset(out, 0, 4 * HEADS * p.width);
  for (int64_t first = 0; first < filled; first += PLACES)
    for (int64_t d = 0; d < p.width; d += 2 * LANES) {
      Vec totals[HEADS][2];
      for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < 2; i++) totals[h][i] = load(out + h * p.width + d + i * LANES);
      for (int64_t place = first; place < std::min(first + PLACES, filled); place++) {
        Vec low = load(values + place * p.width + d), high = load(values + place * p.width + d + LANES);
        for (int h = 0; h < HEADS; h++) {
          Vec weight = broadcast(weights[place * HEADS + h]);
          totals[h][0] = fma(weight, low, totals[h][0]);
          totals[h][1] = fma(weight, high, totals[h][1]);
        }
      }
      for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < 2; i++) store(out + h * p.width + d + i * LANES, totals[h][i]);
    }
  for (int h = 0; h < HEADS; h++)
    for (int64_t d = 0; d < p.width; d += LANES) store(out + h * p.width + d, load(out + h * p.width + d) * scale[h]);
}

template <int HEADS, typename Kept>
static void attend(const Attention& p, const float* queries, const Kept* keys, const Kept* values, int64_t filled,
                   float* scores, float* out) {
  scores_of<HEADS>(p, queries, keys, values, filled, scores);
  float scale[HEADS];
  softmax<HEADS>(scores, filled, scale);
  mix<HEADS>(p, scores, scale, values, filled, out);
}

template <typename Kept>
static void attention_over(const Attention& p, const Batch& batch) {
  int64_t group = p.heads / p.kv_heads;
  float scale = 1.0f / std::sqrt(float(p.width));
  for (int r = batch.begin; r < batch.end; r++) {
    int32_t slot = batch.slots[r];
    int64_t position = p.position[slot] + (p.consecutive ? r : 0), place = position % p.ring;
    int64_t filled = position + 1 < p.ring ? position + 1 : p.ring;
    const float* cosine = p.cosine + position % p.period * (p.width / 2);
    const float* sine = p.sine + position % p.period * (p.width / 2);
    float *queries = p.turned[r], *key = queries + p.heads * p.width, *scores = p.scores[r], *out = p.out[r];
    const float* in = p.in[r];
    for (int64_t h = 0; h < p.heads; h++)
      turn(in + h * p.width, cosine, sine, p.width / 2, scale, queries + h * p.width);
    for (int64_t g = 0; g < p.kv_heads; g++) {
      Kept* keys = reinterpret_cast<Kept*>(p.keys.data) + (slot * p.kv_heads + g) * p.ring * p.width;
      Kept* values = reinterpret_cast<Kept*>(p.values.data) + (slot * p.kv_heads + g) * p.ring * p.width;
      turn(in + (p.heads + g) * p.width, cosine, sine, p.width / 2, 1.0f, key);
      put(keys + place * p.width, key, p.width);
      put(values + place * p.width, in + (p.heads + p.kv_heads + g) * p.width, p.width);
      for (int64_t h = g * group; h < (g + 1) * group;) {
        int64_t left = (g + 1) * group - h, taken = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        auto go = taken == 4 ? attend<4, Kept> : taken == 2 ? attend<2, Kept> : attend<1, Kept>;
        go(p, queries + h * p.width, keys, values, filled, scores, out + h * p.width);
        h += taken;
      }
    }
  }
}

static void attention(const Attention& p, const Batch& batch) {
  p.brains ? attention_over<Brain>(p, batch) : attention_over<float>(p, batch);
}
