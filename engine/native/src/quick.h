// Activations, and quick ones: those are for results that are rounded to 8 bits or to bfloat16 next, with an error far
// below that. They are half as long as those of vector.h, and like them the same bits on every processor.
#pragma once
#include "vector.h"

enum Activation { NONE = 0, GELU = 1, ELU = 2 };

// The exponential of numbers up to 0; relative error 1e-4. NaN gives a very small number.
static inline Vec quick_exponential(Vec x) {
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  Vec twos = larger(x, broadcast(-87.0f)) * 1.44269504f, shifted = twos + magic, rest = twos - (shifted - magic);
  Vec p = fma(broadcast(5.500797601e-2f), rest, broadcast(2.422098821e-1f));
  p = fma(fma(p, rest, broadcast(6.932829116e-1f)), rest, broadcast(1.0f));
  return (Vec)((VecInt)p + ((VecInt)shifted << 23));  // times 2^n, by adding n to the exponent
}

static inline Vec quick_elu(Vec x) { return select(x > 0.0f, x, quick_exponential(smaller(x, Vec{})) - 1.0f); }

// x times a polynomial for the normal distribution function; error 2e-4, where |x| is above 8 in proportion to it.
static inline Vec quick_gelu(Vec x) {
  Vec bounded = smaller(larger(x, broadcast(-4.0f)), broadcast(4.0f)), square = bounded * bounded;
  Vec p = broadcast(2.278131378e-8f);
  for (float c : {-1.598595209e-6f, 4.795536281e-5f, -8.140137789e-4f, 8.772379033e-3f, -6.457308741e-2f, 3.978833297e-1f})
    p = fma(p, square, broadcast(c));
  return x * fma(bounded, p, broadcast(0.5f));
}

// Calls fn with the activation, once. Each is of a type of its own, so that loops in fn are compiled for it.
template <typename Fn>
static inline void with_activation(int activation, bool quick, Fn fn) {
  if (activation == GELU) return quick ? fn([](Vec v) { return quick_gelu(v); }) : fn([](Vec v) { return gelu(v); });
  if (activation == ELU) return quick ? fn([](Vec v) { return quick_elu(v); }) : fn([](Vec v) { return elu(v); });
  fn([](Vec v) { return v; });
}
