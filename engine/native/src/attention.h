// Attention of one new position for each stream, or of consecutive positions of one stream, over the ring of its last
// keys and values.
#pragma once
#include "byte_ring.h"
#include "float_ring.h"
#include "paired_ring.h"
#include "program.h"
#include "vector.h"

enum Kept { FLOATS = 0, BRAINS = 1, BYTES = 2 };

struct Attention {
  Rows in;  // queries of all heads, keys, values: [heads + 2 * kv_heads, width]
  int64_t heads, kv_heads, width, ring;
  const float *cosine, *sine;  // [period, width / 2]
  int64_t period;
  const int64_t* position;   // of each slot
  Rows keys, values;         // of each slot: [kv_heads] rings
  int kept;                  // format of the rings, see Kept: FloatRing, PairedRing or ByteRing
  Rows turned, scores, out;  // workspaces [heads + 1, width] and [heads, places]; out [heads, width]
  bool consecutive;          // rows are positions of one stream, `position` being that of row 0
};

// Turns each pair of a head by its angle (arXiv 2104.09864).
static inline void turn(const float* in, const float* cosine, const float* sine, int64_t pairs, float scale, float* out) {
  for (int64_t i = 0; i < pairs; i++) {
    float a = in[2 * i], b = in[2 * i + 1];
    out[2 * i] = (a * cosine[i] - b * sine[i]) * scale;
    out[2 * i + 1] = (a * sine[i] + b * cosine[i]) * scale;
  }
}

// `Ring` is the last keys and values of one head of a slot. `put` writes the newest. `attend` averages the values for
// up to four heads, by the softmax of the products of keys and queries; `prepare` converts the queries first.
template <typename Ring>
static void attention_over(const Attention& p, const Batch& batch) {
  int64_t group = p.heads / p.kv_heads;
  float scale = 1.0f / std::sqrt(float(p.width));
  for (int r = batch.begin; r < batch.end; r++) {
    int32_t slot = batch.slots[r];
    int64_t position = p.position[slot] + (p.consecutive ? r : 0);
    int64_t filled = position + 1 < p.ring ? position + 1 : p.ring;
    const float* cosine = p.cosine + position % p.period * (p.width / 2);
    const float* sine = p.sine + position % p.period * (p.width / 2);
    const float* in = p.in[r];
    float *queries = p.turned[r], *key = queries + p.heads * p.width, *out = p.out[r];
    const float* next = p.keys[batch.slots[std::min(r + 1, batch.end - 1)]];
    for (int64_t h = 0; h < p.heads; h++)
      turn(in + h * p.width, cosine, sine, p.width / 2, scale, queries + h * p.width);
    Ring::prepare(queries, p.heads * p.width);
    for (int64_t g = 0; g < p.kv_heads; g++) {
      Ring ring(p.keys[slot], p.values[slot], g, p.ring, p.width);
      turn(in + (p.heads + g) * p.width, cosine, sine, p.width / 2, 1.0f, key);
      ring.put(key, in + (p.heads + p.kv_heads + g) * p.width, position % p.ring, filled);
      for (int64_t h = g * group; h < (g + 1) * group;) {
        int64_t left = (g + 1) * group - h, taken = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        auto attend = taken == 4 ? &Ring::template attend<4> : taken == 2 ? &Ring::template attend<2> : &Ring::template attend<1>;
        (ring.*attend)(Ring::of_head(queries, h, p.width), filled, p.scores[r], out + h * p.width, next);
        h += taken;
      }
    }
  }
}

static void attention(const Attention& p, const Batch& batch) {
  if (p.kept == BYTES) return attention_over<ByteRing>(p, batch);
  p.kept == BRAINS ? attention_over<PairedRing>(p, batch) : attention_over<FloatRing>(p, batch);
}
