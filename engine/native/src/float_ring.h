// Keys and values as floats: [ring, width] each.
#pragma once
#include <algorithm>

#include "vector.h"

struct FloatRing {
  float *keys, *values;
  int64_t ring, width;

  FloatRing(float* keys, float* values, int64_t index, int64_t ring, int64_t width)
      : keys(keys + index * ring * width), values(values + index * ring * width), ring(ring), width(width) {}

  static void prepare(float*, int64_t) {}
  static const float* of_head(const float* queries, int64_t head, int64_t width) { return queries + head * width; }

  void put(const float* key, const float* value, int64_t place, int64_t) {
    std::memcpy(keys + place * width, key, 4 * width);
    std::memcpy(values + place * width, value, 4 * width);
  }

  template <int HEADS>
  void attend(const float* queries, int64_t filled, float* scores, float* out, const float*) const {
    float scale[HEADS];
    meet<HEADS>(queries, filled, scores);
    softmax<HEADS>(scores, filled, scale);
    mix<HEADS>(scores, scale, filled, out);
  }

 private:
  static constexpr int64_t AHEAD = 3 * LANES;  // places

  // A stream's keys and values have left the caches by its next step, and the processor's own prefetching stops at each
  // page's end.
  static void fetch_ahead(const float* from, int64_t count) {
    for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(from + i, 0, 2);
  }

  // Sums of a score that registers hold at once: AVX2 has 16 registers, AVX-512 and NEON 32.
  static constexpr int AT_ONCE = LANES == 4 ? 4 : LANES / VECS;

  // Scores [filled, HEADS], computed for so many places that they fill a vector.
  template <int HEADS>
  void meet(const float* queries, int64_t filled, float* scores) const {
    constexpr int TAKEN = LANES / HEADS;
    for (int64_t place = 0; place < filled; place += TAKEN) {
      fetch_ahead(keys + std::min(place + AHEAD, ring - TAKEN) * width, TAKEN * width);
      fetch_ahead(values + std::min(place, ring - TAKEN) * width, TAKEN * width);  // they come next
      const float* key[TAKEN];
      for (int i = 0; i < TAKEN; i++) key[i] = keys + std::min(place + i, ring - 1) * width;
      Vec products[LANES];
#pragma GCC unroll 4  // half as fast on AVX2 otherwise
      for (int first = 0; first < LANES; first += AT_ONCE) {
        Vec parts[AT_ONCE][VECS] = {};
        for (int64_t d = 0; d < width; d += PARTS)
          for (int i = 0; i < AT_ONCE; i++)
            for (int j = 0; j < VECS; j++) {
              const float* query = queries + (first + i) % HEADS * width;
              parts[i][j] = fma(load(query + d + j * LANES), load(key[(first + i) / HEADS] + d + j * LANES), parts[i][j]);
            }
        for (int i = 0; i < AT_ONCE; i++) products[first + i] = folded(parts[i]);
      }
      store_some(scores + place * HEADS, sums(products), int(std::min<int64_t>(LANES, (filled - place) * HEADS)));
    }
  }

  // Exponentials of the scores, in place, and the factors that make those of each head add up to one.
  template <int HEADS>
  static void softmax(float* scores, int64_t filled, float* scale) {
    Vec most = broadcast(-INFINITY), total[VECS] = {}, highest;
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
      total[i / LANES % VECS] += load_some(scores + i, n);
    });
    float parts[PARTS];
    for (int i = 0; i < VECS; i++) store(parts + i * LANES, total[i]);
    for (int h = 0; h < HEADS; h++) {
      float all = 0;
      for (int i = h; i < PARTS; i += HEADS) all += parts[i];
      scale[h] = 1.0f / all;
    }
  }

  // A few places at a time, so that each value is read from memory once, and then from the first cache.
  static constexpr int64_t PLACES = 32;

  template <int HEADS>
  void mix(const float* weights, const float* scale, int64_t filled, float* out) const {
    std::memset(out, 0, 4 * HEADS * width);
    for (int64_t first = 0; first < filled; first += PLACES)
      for (int64_t d = 0; d < width; d += 2 * LANES) {
        Vec totals[HEADS][2];
        for (int h = 0; h < HEADS; h++)
          for (int i = 0; i < 2; i++) totals[h][i] = load(out + h * width + d + i * LANES);
        for (int64_t place = first; place < std::min(first + PLACES, filled); place++) {
          Vec low = load(values + place * width + d), high = load(values + place * width + d + LANES);
          for (int h = 0; h < HEADS; h++) {
            Vec weight = broadcast(weights[place * HEADS + h]);
            totals[h][0] = fma(weight, low, totals[h][0]);
            totals[h][1] = fma(weight, high, totals[h][1]);
          }
        }
        for (int h = 0; h < HEADS; h++)
          for (int i = 0; i < 2; i++) store(out + h * width + d + i * LANES, totals[h][i]);
      }
    for (int h = 0; h < HEADS; h++)
      for (int64_t d = 0; d < width; d += LANES) store(out + h * width + d, load(out + h * width + d) * scale[h]);
  }
};
