// Keys and values in 8 bits, with a scale for each place: keys [places / 16, width / GROUP, 16, GROUP], whole numbers from
// -127 to 127 plus 128, and values [places / GROUP, width, GROUP] without that, each followed by the scales [places].
// `places` is the ring rounded up to whole blocks.
#pragma once
#include "byte_product.h"

struct ByteRing {
  uint8_t* keys;
  int8_t* values;
  float *key_scales, *value_scales;
  int64_t ring, places, width;

  ByteRing(float* keys, float* values, int64_t index, int64_t ring, int64_t width)
      : ring(ring), places((ring + BLOCK - 1) / BLOCK * BLOCK), width(width) {
    int64_t offset = index * places * (width + int64_t(sizeof(float)));
    this->keys = reinterpret_cast<uint8_t*>(keys) + offset;
    this->values = reinterpret_cast<int8_t*>(values) + offset;
    key_scales = reinterpret_cast<float*>(this->keys + places * width);
    value_scales = reinterpret_cast<float*>(this->values + places * width);
  }

  static void prepare(float*, int64_t) {}
  static const float* of_head(const float* queries, int64_t head, int64_t width) { return queries + head * width; }

  void put(const float* key, const float* value, int64_t place, int64_t) {
    int8_t numbers[LANES];
    uint8_t* column = key_at(place);
    int8_t* row = values + place / GROUP * GROUP * width + place % GROUP;
    key_scales[place] = round_each(key, width, [&](int64_t d, VecInt whole) {
      store_numbers(numbers, whole);
      for (int i = 0; i < LANES; i++) column[((d + i) / GROUP * BLOCK) * GROUP + (d + i) % GROUP] = uint8_t(numbers[i] + 128);
    });
    value_scales[place] = round_each(value, width, [&](int64_t d, VecInt whole) {
      store_numbers(numbers, whole);
      for (int i = 0; i < LANES; i++) row[(d + i) * GROUP] = numbers[i];
    });
  }

  // `next`: keys that are attended to next, which are fetched from memory meanwhile.
  template <int HEADS>
  void attend(const float* queries, int64_t filled, float* scores, float* out, const float* next) const {
    const float highest = highest_scale(filled);
    float scale[HEADS];
    meet<HEADS>(queries, filled, scores);
    for (int h = 0; h < HEADS; h++) scale[h] = softmax(scores + h * places, highest, filled);
    mix<HEADS>(scores, scale, filled, out, reinterpret_cast<const char*>(next));
  }

 private:
  static constexpr int64_t BLOCK = 16;
  static constexpr int CHAINS = 8;  // independent sums at once, since each addition waits for the last one of its sum
  static constexpr int WIDE = LANES == 8 ? 1 : 2;
  static constexpr int64_t AHEAD = 64;  // places whose keys are fetched before they are needed
  static constexpr int MOST_WIDTH = 1024;
  static constexpr float MOST_WEIGHT = 127 * 128 + 127;  // a softmax weight is two numbers of seven bits

  uint8_t* key_at(int64_t place) const { return keys + place / BLOCK * BLOCK * width + place % BLOCK * GROUP; }

  template <typename T>
  static void store_numbers(T* out, VecInt numbers) {
    typedef T Numbers __attribute__((vector_size(sizeof(T) * LANES), aligned(1), may_alias));
    *reinterpret_cast<Numbers*>(out) = __builtin_convertvector(numbers, Numbers);
  }

  static VecInt load_keys(const uint8_t* p) {
#if LANES == 4 && defined(__ARM_FEATURE_DOTPROD)
    return (VecInt)veorq_u8(vld1q_u8(p), vdupq_n_u8(128));
#elif LANES == 16 && defined(__AVX512BW__) && !defined(__AVX512VNNI__)
    return (VecInt)_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif LANES == 8 && defined(__AVX2__)
    return (VecInt)_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
    typedef uint8_t Bytes __attribute__((vector_size(GROUP * LANES), aligned(1), may_alias));
    typedef Whole Wholes __attribute__((vector_size(4 * LANES)));
    return (VecInt)__builtin_convertvector(*reinterpret_cast<const Bytes*>(p), Wholes);
#endif
  }

  // Gives `put` vectors of whole numbers from -127 to 127; returns their scale, which is NaN if a value is.
  template <typename Put>
  static float round_each(const float* in, int64_t size, Put put) {
    VecInt highest = {};
    for (int64_t i = 0; i < size; i += LANES) {
      VecInt bits = (VecInt)load(in + i) & 0x7fffffff;  // NaN has the highest bits
      highest = bits > highest ? bits : highest;
    }
    int32_t bits = 0;
    for (int i = 0; i < LANES; i++) bits = std::max(bits, highest[i]);
    float most;
    std::memcpy(&most, &bits, sizeof most);
    const float factor = most > 1e-30f ? 127.0f / most : 0.0f;
    for (int64_t i = 0; i < size; i += LANES) put(i, (VecInt)(load(in + i) * factor + 12582912.0f) - 0x4b400000);
    return most / 127.0f;
  }

  // The highest scale of a value, or NaN if one is.
  float highest_scale(int64_t filled) const {
    VecInt highest = {};
    by_vectors(filled, [&](int64_t i, int n) {
      VecInt bits = (VecInt)load_some(value_scales + i, n);
      highest = bits > highest ? bits : highest;
    });
    int32_t bits = 0;
    for (int i = 0; i < LANES; i++) bits = std::max(bits, highest[i]);
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return scale;
  }

  // Scores [HEADS, places]. Meanwhile the next keys and the values of these places are fetched: they have left the caches
  // since the stream's last step.
  template <int HEADS>
  void meet(const float* queries, int64_t filled, float* scores) const {
    constexpr int AT_ONCE = CHAINS / HEADS;
    Whole rounded[HEADS][MOST_WIDTH];
    float scale[HEADS];
    int32_t surplus[HEADS];
    for (int h = 0; h < HEADS; h++) {
      VecInt total = {};
      scale[h] = round_each(queries + h * width, width, [&](int64_t d, VecInt whole) {
        store_numbers(rounded[h] + d, whole);
        total += whole;
      });
      surplus[h] = 0;
      if (LESS == 0)  // where keys are unsigned, see load_keys
        for (int i = 0; i < LANES; i++) surplus[h] += 128 * total[i];
    }
    for (int64_t place = 0; place < filled; place += AT_ONCE * LANES) {
      const uint8_t* key[AT_ONCE];
      const int8_t* value = values + place * width;
      for (int i = 0; i < AT_ONCE; i++) key[i] = key_at(std::min(place + i * LANES, places - LANES));
      int64_t next = key_at(std::min(place + AHEAD, places - BLOCK)) - key[0];
      VecInt totals[HEADS][AT_ONCE] = {};
      for (int64_t d = 0; d < width; d += GROUP) {
        VecInt numbers[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
          numbers[i] = load_keys(key[i] + d * BLOCK);
          __builtin_prefetch(key[i] + next + d * BLOCK, 0, 2);
          __builtin_prefetch(value + (i * width + d) * LANES, 0, 2);
        }
        for (int h = 0; h < HEADS; h++) {
          VecInt query = broadcast(rounded[h] + d);
          for (int i = 0; i < AT_ONCE; i++) totals[h][i] = multiply_add(numbers[i], query, totals[h][i]);
        }
      }
      for (int i = 0; i < AT_ONCE && place + i * LANES < filled; i++)
        for (int h = 0; h < HEADS; h++) {
          Vec total = __builtin_convertvector(totals[h][i] - surplus[h], Vec);
          store(scores + h * places + place + i * LANES, total * (load(key_scales + place + i * LANES) * scale[h]));
        }
    }
  }

  // Exponentials of one head's scores times the values' scales, in place: upper numbers of 16 places, then their lower ones.
  // Returns the factor that makes the weights add up to one.
  float softmax(float* scores, float highest_scale, int64_t filled) const {
    Vec most = broadcast(-INFINITY), total[VECS] = {};
    float highest = -INFINITY;
    for (int64_t i = filled; i % PARTS; i++) scores[i] = -INFINITY;
    for (int64_t i = 0; i < filled; i += LANES) most = larger(load(scores + i), most);
    for (int i = 0; i < LANES; i++) highest = std::max(highest, most[i]);
    const float factor = highest_scale > 1e-30f ? MOST_WEIGHT / highest_scale : 0.0f;
    for (int64_t i = 0; i < filled; i += PARTS) {
      Vec score[VECS];
      for (int j = 0; j < VECS; j++) score[j] = load(scores + i + j * LANES);
      Whole* weights = reinterpret_cast<Whole*>(scores) + 2 * i;
      for (int j = 0; j < VECS; j++) {
        VecInt there = score[j] > -INFINITY;
        Vec weight = select(there, quick_exponential(score[j] - highest), Vec{});
        total[j] += weight;
        weight = select(there, weight * (load(value_scales + i + j * LANES) * factor), Vec{});
        VecInt whole = (VecInt)(weight + 12582912.0f) - 0x4b400000;
        store_numbers(weights + j * LANES, whole >> 7);
        store_numbers(weights + PARTS + j * LANES, whole & 127);
      }
    }
    return highest_scale / (MOST_WEIGHT * sum(total));
  }

  template <int HEADS>
  void mix(const float* scores, const float* scale, int64_t filled, float* out, const char* next) const {
    for (int64_t d = 0; d < width; d += WIDE * LANES) {
      VecInt totals[HEADS][WIDE][2] = {};
      for (int64_t place = 0; place < filled; place += GROUP) {
        VecInt numbers[WIDE];
        for (int i = 0; i < WIDE; i++) {
          numbers[i] = load_group(values + place * width + (d + i * LANES) * GROUP);
          __builtin_prefetch(next + place * width + (d + i * LANES) * GROUP, 0, 2);
        }
        for (int h = 0; h < HEADS; h++) {
          const Whole* weights = reinterpret_cast<const Whole*>(scores + h * places) + place / PARTS * 2 * PARTS + place % PARTS;
          VecInt upper = broadcast(weights), lower = broadcast(weights + PARTS);
          for (int i = 0; i < WIDE; i++) {
            totals[h][i][0] = multiply_add(upper, numbers[i], totals[h][i][0]);
            totals[h][i][1] = multiply_add(lower, numbers[i], totals[h][i][1]);
          }
        }
      }
      for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < WIDE; i++) {
          Vec upper = __builtin_convertvector(totals[h][i][0], Vec), lower = __builtin_convertvector(totals[h][i][1], Vec);
          store(out + h * width + d + i * LANES, fma(upper, broadcast(128.0f), lower) * scale[h]);
        }
    }
  }
};
