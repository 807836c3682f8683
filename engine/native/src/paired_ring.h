// Keys and values in bfloat16, laid out so that the processor's products of pairs need no sums across lanes:
// keys [places / 16, width / 2, 16], pairs of neighbouring widths of 16 places beside each other; values
// [places / 2, width], pairs of neighbouring places. `places` is the ring rounded up to whole blocks.
#pragma once
#include <algorithm>

#include "vector.h"

struct PairedRing {
  Pair *keys, *values;
  int64_t ring, places, width;

  PairedRing(float* keys, float* values, int64_t index, int64_t ring, int64_t width)
      : ring(ring), places((ring + BLOCK - 1) / BLOCK * BLOCK), width(width) {
    int64_t offset = index * places * (width / 2);
    this->keys = reinterpret_cast<Pair*>(keys) + offset;
    this->values = reinterpret_cast<Pair*>(values) + offset;
  }

  // Converts queries to bfloat16 in place.
  static void prepare(float* queries, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) store_brains(reinterpret_cast<Brain*>(queries) + i, load(queries + i));
  }
  static const Pair* of_head(const float* queries, int64_t head, int64_t width) {
    return reinterpret_cast<const Pair*>(queries) + head * (width / 2);
  }

  void put(const float* key, const float* value, int64_t place, int64_t filled) {
    Brain rounded[LANES];
    Pair* column = key_at(place);
    Pair* row = values + place / 2 * width;
    bool alone = place % 2 == 0 && place + 1 >= filled && filled < ring;  // clear an earlier stream's value
    for (int64_t d = 0; d < width; d += LANES) {
      store_brains(rounded, load(key + d));
      for (int i = 0; i < LANES / 2; i++) column[(d / 2 + i) * BLOCK] = {rounded[2 * i], rounded[2 * i + 1]};
      store_brains(rounded, load(value + d));
      for (int i = 0; i < LANES; i++) {
        if (alone) row[d + i].second = Brain{0};
        (place % 2 ? row[d + i].second : row[d + i].first) = rounded[i];
      }
    }
  }

  // `next`: keys that are attended to next, which are fetched from memory meanwhile.
  template <int HEADS>
  void attend(const Pair* queries, int64_t filled, float* scores, float* out, const float* next) const {
    float scale[HEADS];
    meet<HEADS>(queries, filled, scores);
    for (int h = 0; h < HEADS; h++) scale[h] = softmax(scores + h * places, filled);
    width % (4 * LANES) ? mix<HEADS, 2>(scores, scale, filled, out, next) : mix<HEADS, 4>(scores, scale, filled, out, next);
  }

 private:
  static constexpr int64_t BLOCK = 16;
  static constexpr int CHAINS = 8;  // independent sums at once, since each addition waits for the last one of its sum

  Pair* key_at(int64_t place) const { return keys + place / BLOCK * BLOCK * (width / 2) + place % BLOCK; }

  // Scores [HEADS, places]. Meanwhile the next keys and the values of these places are fetched: they have left the caches
  // since the stream's last step.
  template <int HEADS>
  void meet(const Pair* queries, int64_t filled, float* scores) const {
    constexpr int AT_ONCE = CHAINS / HEADS;
    for (int64_t place = 0; place < filled; place += AT_ONCE * LANES) {
      const Pair *key[AT_ONCE], *value = values + place / 2 * width;
      for (int i = 0; i < AT_ONCE; i++) key[i] = key_at(std::min(place + i * LANES, places - LANES));
      int64_t next = key_at(std::min(place + AT_ONCE * LANES, places - BLOCK)) - key[0];
      Vec totals[HEADS][AT_ONCE] = {};
      for (int64_t d = 0; d < width / 2; d++) {
        VecInt both[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
          both[i] = load(key[i] + d * BLOCK);
          __builtin_prefetch(key[i] + next + d * BLOCK, 0, 2);
          __builtin_prefetch(value + (i * (width / 2) + d) * LANES, 0, 2);
        }
        for (int h = 0; h < HEADS; h++) {
          VecInt query = broadcast(queries[h * (width / 2) + d]);
          for (int i = 0; i < AT_ONCE; i++) totals[h][i] = fma(both[i], query, totals[h][i]);
        }
      }
      for (int i = 0; i < AT_ONCE && place + i * LANES < filled; i++)
        for (int h = 0; h < HEADS; h++) store(scores + h * places + place + i * LANES, totals[h][i]);
    }
  }

  // Exponentials of one head's scores, in place and in bfloat16, followed by a zero; returns the factor that makes the
  // rounded ones add up to one.
  static float softmax(float* scores, int64_t filled) {
    Vec most = broadcast(-INFINITY), total[VECS] = {};
    Brain* weights = reinterpret_cast<Brain*>(scores);
    float highest = -INFINITY;
    for (int64_t i = filled; i % PARTS; i++) scores[i] = -INFINITY;
    for (int64_t i = 0; i < filled; i += LANES) most = larger(load(scores + i), most);
    for (int i = 0; i < LANES; i++) highest = std::max(highest, most[i]);
    for (int64_t i = 0; i < filled; i += PARTS)
      for (int j = 0; j < VECS; j++) {
        Vec score = load(scores + i + j * LANES);
        store_brains(weights + i + j * LANES, select(score > -INFINITY, exponential(score - highest), Vec{}));
        total[j] += load(weights + i + j * LANES);
      }
    return 1.0f / sum(total);
  }

  template <int HEADS, int WIDE>
  void mix(const float* scores, const float* scale, int64_t filled, float* out, const float* next) const {
    constexpr int APART = std::max(1, CHAINS / (HEADS * WIDE));  // pairs of places that are added up by themselves
    const Pair* weights = reinterpret_cast<const Pair*>(scores);
    int64_t pairs = (filled + 1) / 2;
    for (int64_t d = 0; d < width; d += WIDE * LANES) {
      Vec totals[APART][HEADS][WIDE] = {};
      auto add = [&](int64_t pair, Vec (&to)[HEADS][WIDE]) {
        VecInt both[WIDE];
        for (int i = 0; i < WIDE; i++) {
          both[i] = load(values + pair * width + d + i * LANES);
          __builtin_prefetch(next + pair * width + d + i * LANES, 0, 2);
        }
        for (int h = 0; h < HEADS; h++) {
          VecInt weight = broadcast(weights[h * places + pair]);
          for (int i = 0; i < WIDE; i++) to[h][i] = fma(both[i], weight, to[h][i]);
        }
      };
      int64_t pair = 0;
      for (; pair + APART <= pairs; pair += APART)
        for (int a = 0; a < APART; a++) add(pair + a, totals[a]);
      for (; pair < pairs; pair++) add(pair, totals[0]);
      for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < WIDE; i++) {
          Vec all = totals[0][h][i];
          for (int a = 1; a < APART; a++) all += totals[a][h][i];
          store(out + h * width + d + i * LANES, all * scale[h]);
        }
    }
  }
};
