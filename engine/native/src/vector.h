// Vectors of floats as wide as the processor's registers, and the few functions that the kernels need of them.
// Every result is a fixed sequence of operations, whatever the width: the same floats give the same bits on all processors.
// If LANES is wider than the processor's registers (-DLANES=16 in tests), the compiler uses narrower ones.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if !defined(LANES) && defined(__AVX512F__)
#define LANES 16
#elif !defined(LANES) && defined(__aarch64__)
#define LANES 4
#elif !defined(LANES)
#define LANES 8
#endif
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t VecInt __attribute__((vector_size(4 * LANES), may_alias));
typedef uint16_t Half;   // IEEE half precision, as stored
struct Brain {           // bfloat16: the upper half of a float
  uint16_t bits;
};
struct Pair {
  Brain first, second;
};

static inline Vec broadcast(float x) { return x - Vec{}; }
static inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
static inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }

static inline Vec load(const Half* p) {
#if LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif LANES == 8 && defined(__F16C__)
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif LANES == 4 && defined(__aarch64__)
  return (Vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
  typedef _Float16 HalfVec __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
  return __builtin_convertvector(*reinterpret_cast<const HalfVec*>(p), Vec);
#endif
}

static inline Vec load(const Brain* p) {
  typedef uint16_t Bits __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
  return (Vec)(__builtin_convertvector(*reinterpret_cast<const Bits*>(p), VecInt) << 16);
}

// a * b + c, rounded once
static inline Vec fma(Vec a, Vec b, Vec c) {
#if LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8 && defined(__FMA__)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif LANES == 4 && defined(__aarch64__)
  return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  for (int i = 0; i < LANES; i++) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
#endif
}

// Neighbours that are multiplied together: the processor adds two products of bfloat16 to a float at once.
static inline VecInt load(const Pair* p) {
  VecInt v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
static inline VecInt broadcast(Pair x) {
  int32_t both;
  std::memcpy(&both, &x, sizeof both);
  return both - VecInt{};
}

// c plus both products of each lane's pairs
static inline Vec fma(VecInt a, VecInt b, Vec c) {
#if LANES == 16 && defined(__AVX512BF16__)
  return (Vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#elif LANES == 4 && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  return (Vec)vbfdotq_f32((float32x4_t)c, (bfloat16x8_t)a, (bfloat16x8_t)b);
#else
  const VecInt second = VecInt{} - 65536;
  c = fma((Vec)(a << 16), (Vec)(b << 16), c);
  return fma((Vec)(a & second), (Vec)(b & second), c);
#endif
}

// Rounds to the nearest bfloat16, or to the even one of two equally near; NaN stays NaN.
static inline void store_brains(Brain* out, Vec v) {
#if LANES == 16 && defined(__AVX512BF16__)
  __m256bh brains = _mm512_cvtneps_pbh((__m512)v);
  std::memcpy(out, &brains, sizeof brains);
#elif LANES == 4 && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  bfloat16x4_t brains = vcvt_bf16_f32((float32x4_t)v);
  std::memcpy(out, &brains, sizeof brains);
#else
  VecInt bits = (VecInt)v, odd = (bits >> 16) & 1, number = v == v;
  bits = (number & (bits + 0x7fff + odd)) | (~number & (bits | 0x400000));
  for (int i = 0; i < LANES; i++) out[i].bits = uint16_t(uint32_t(bits[i]) >> 16);
#endif
}

// A sum has 16 parts, whatever the width of the vectors: value i is added to part i % 16. Parts are added in a fixed order:
// those 8 apart, those 4 apart, then neighbours twice.
constexpr int PARTS = 16, VECS = PARTS / LANES;

static inline float sum(const Vec (&v)[VECS]) {
  float part[PARTS];
  for (int i = 0; i < VECS; i++) store(part + i * LANES, v[i]);
  for (int apart : {8, 4})
    for (int i = 0; i < apart; i++) part[i] += part[i + apart];
  return (part[0] + part[1]) + (part[2] + part[3]);
}

// Adds those of a sum's parts that lie in different vectors.
static inline Vec folded(const Vec (&v)[VECS]) {
#if LANES == 16
  return v[0];
#elif LANES == 8
  return v[0] + v[1];
#else
  return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

#if LANES == 16
#define ADD_HALVES(a, b)                                                                        \
  (__builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +       \
   __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#define ADD_FOURS(a, b)                                                                         \
  (__builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +     \
   __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
#define ADD_NEIGHBOURS(a, b)                                                                    \
  (__builtin_shufflevector(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +    \
   __builtin_shufflevector(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31))
#elif LANES == 8
#define ADD_FOURS(a, b)                                          \
  (__builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +      \
   __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#define ADD_NEIGHBOURS(a, b)                                     \
  (__builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +     \
   __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15))
#else
#define ADD_NEIGHBOURS(a, b) (__builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7))
#endif

// Lane i of the result is the sum of folded parts i, of LANES sums.
static inline Vec sums(Vec* v) {
#if LANES == 16
  for (int i = 0; i < 4; i++) {
    Vec a = ADD_HALVES(v[i], v[i + 4]), b = ADD_HALVES(v[i + 8], v[i + 12]);
    v[i] = ADD_FOURS(a, b);
  }
#elif LANES == 8
  for (int i = 0; i < 4; i++) v[i] = ADD_FOURS(v[i], v[i + 4]);
#endif
  Vec a = ADD_NEIGHBOURS(v[0], v[1]), b = ADD_NEIGHBOURS(v[2], v[3]);
  return ADD_NEIGHBOURS(a, b);
}

static inline Vec select(VecInt where, Vec yes, Vec no) { return (Vec)((where & (VecInt)yes) | (~where & (VecInt)no)); }

// If one of the two is NaN, the result is the second.
static inline Vec smaller(Vec a, Vec b) {
#if LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif LANES == 8 && defined(__AVX__)
  return (Vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return select(a < b, a, b);
#endif
}
static inline Vec larger(Vec a, Vec b) {
#if LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8 && defined(__AVX__)
  return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return select(a > b, a, b);
#endif
}

static inline float largest_lane(Vec v) {
  float most = v[0];
  for (int i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
  return most;
}

static inline bool any(VecInt where) {
#if LANES == 16 && defined(__AVX512DQ__)
  return _mm512_movepi32_mask((__m512i)where);
#elif LANES == 8 && defined(__AVX__)
  return _mm256_movemask_ps((__m256)where);
#else
  int32_t all = 0;
  for (int i = 0; i < LANES; i++) all |= where[i];
  return all;
#endif
}

static inline Vec square_root(Vec v) {
#if LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_sqrt_ps((__m512)v);
#elif LANES == 8 && defined(__AVX__)
  return (Vec)_mm256_sqrt_ps((__m256)v);
#elif LANES == 4 && defined(__aarch64__)
  return (Vec)vsqrtq_f32((float32x4_t)v);
#else
  for (int i = 0; i < LANES; i++) v[i] = std::sqrt(v[i]);
  return v;
#endif
}

// x times 2^n for whole n of -126 … 127
static inline Vec scaled(Vec x, Vec n) {
#if LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
  return x * (Vec)((__builtin_convertvector(n, VecInt) + 127) << 23);
#endif
}

// The exponential: 2^n times a polynomial in the remainder (coefficients of Cephes' expf); relative error 2e-7.
// NaN gives a very small number.
static inline Vec exponential(Vec x) {
  x = smaller(larger(x, broadcast(-87.0f)), broadcast(88.0f));
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  Vec n = fma(x, broadcast(1.44269504f), magic) - magic;
  Vec r = fma(n, broadcast(-0.693359375f), x);
  r = fma(n, broadcast(2.12194440e-4f), r);
  Vec p = broadcast(1.9875691500e-4f);
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = fma(p, r, broadcast(c));
  p = fma(p, r * r, r + 1.0f);
  return scaled(p, n);
}

// The natural logarithm of a positive number (coefficients of Cephes' logf); error 1e-7, also close to one.
static inline Vec logarithm(Vec x) {
  VecInt bits = (VecInt)x;
  Vec e = __builtin_convertvector((bits >> 23) - 126, Vec);
  Vec m = (Vec)((bits & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
  VecInt low = m < 0.707106781f;
  e = select(low, e - 1.0f, e);
  m = select(low, m + m, m) - 1.0f;
  Vec p = broadcast(7.0376836292e-2f);
  for (float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                  2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f})
    p = fma(p, m, broadcast(c));
  Vec square = m * m;
  Vec y = fma(p * m, square, e * -2.12194440e-4f);
  y = fma(square, broadcast(-0.5f), y);
  return fma(e, broadcast(0.693359375f), m + y);
}

static inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }
static inline Vec hyperbolic_tangent(Vec x) { return 2.0f * sigmoid(x + x) - 1.0f; }
static inline Vec elu(Vec x) { return select(x > 0.0f, x, exponential(smaller(x, Vec{})) - 1.0f); }

// x times the normal distribution function, by Abramowitz and Stegun's 7.1.26 for erf; absolute error 2e-7.
static inline Vec gelu(Vec x) {
  Vec z = (Vec)((VecInt)x & 0x7fffffff) * 0.70710678f;
  Vec t = 1.0f / fma(z, broadcast(0.3275911f), broadcast(1.0f));
  Vec p = broadcast(1.061405429f);
  for (float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) p = fma(p, t, broadcast(c));
  Vec erf = 1.0f - p * t * exponential(-z * z);
  return 0.5f * x * (1.0f + select(x < 0.0f, -erf, erf));
}

// The largest of some values, the first of equal ones; NaN is left out. Lane i has every LANES-th value from the i-th on.
struct Maximum {
  Vec values = broadcast(-INFINITY);
  VecInt places = {};

  void add(Vec v, int64_t first) {
    VecInt where = v > values;
    values = select(where, v, values);
    places = (where & int32_t(first)) | (~where & places);
  }
  int32_t place() const {
    int32_t best = 0;
    float most = -INFINITY;
    for (int i = 0; i < LANES; i++)
      if (values[i] > most || (values[i] == most && places[i] + i < best)) most = values[i], best = places[i] + i;
    return best;
  }
};

// Calls fn(offset, count) for each vector of [0, size); count is LANES except for the last.
template <typename Fn>
static inline void by_vectors(int64_t size, Fn fn) {
  int64_t i = 0;
  for (; i + LANES <= size; i += LANES) fn(i, LANES);
  if (i < size) fn(i, int(size - i));
}
static inline Vec load_some(const float* p, int count) {
  if (count == LANES) return load(p);
  float lanes[LANES] = {};
  std::memcpy(lanes, p, 4 * count);
  return load(lanes);
}
static inline void store_some(float* p, Vec v, int count) {
  if (count == LANES) return store(p, v);
  float lanes[LANES];
  store(lanes, v);
  std::memcpy(p, lanes, 4 * count);
}
static inline void store_some(Brain* p, Vec v, int count) {
  if (count == LANES) return store_brains(p, v);
  Brain lanes[LANES];
  store_brains(lanes, v);
  std::memcpy(p, lanes, 2 * count);
}
