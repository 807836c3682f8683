// Magnitudes of the spectrum of the window that ends at a frame, and the logarithmic scale of mel slices.
#pragma once
#include "program.h"
#include "vector.h"

struct Spectrum {
  Rows in;  // [hop] new samples
  int64_t hop, size;
  const float* window;
  const float *cosine, *sine;  // of -2 pi k / size, for k < size / 2
  Rows tail, out;              // of each slot [size - hop]; [size / 2 + 1]
};

// One pass of a transform; WIDTH is `width` if that is known here, so that the compiler fills whole vectors, else 0.
template <int64_t WIDTH>
static void pass(const float* __restrict re, const float* __restrict im, float* __restrict re2, float* __restrict im2,
                 int64_t half, int64_t width, const float* cosine, const float* sine, int64_t stride) {
  if (WIDTH) width = WIDTH;
  for (int64_t p = 0; p < half; p++) {
    float c = cosine[p * width * stride], s = sine[p * width * stride];
    const float *ar = re + p * width, *ai = im + p * width, *br = ar + half * width, *bi = ai + half * width;
    float *xr = re2 + 2 * p * width, *xi = im2 + 2 * p * width, *yr = xr + width, *yi = xi + width;
    for (int64_t q = 0; q < width; q++) {
      float dr = ar[q] - br[q], di = ai[q] - bi[q];
      xr[q] = ar[q] + br[q];
      xi[q] = ai[q] + bi[q];
      yr[q] = dr * c - di * s;
      yi[q] = dr * s + di * c;
    }
  }
}

// The Fourier transform of `size` complex numbers by Stockham's method, which needs no reordering; `size` is a power of
// two, `stride` the step through the table of angles. The result lies in `re`, `im`.
static void transform(float*& re, float*& im, float*& re2, float*& im2, int64_t size, const float* cosine, const float* sine,
                      int64_t stride) {
  for (int64_t half = size / 2, width = 1; half >= 1; half /= 2, width *= 2) {
    auto known = width == 1 ? pass<1> : width == 2 ? pass<2> : width == 4 ? pass<4> : width == 8 ? pass<8> : pass<0>;
    known(re, im, re2, im2, half, width, cosine, sine, stride);
    std::swap(re, re2);
    std::swap(im, im2);
  }
}

constexpr int64_t MOST_WINDOW = 4096;

static void spectrum(const Spectrum& p, const Batch& batch) {
  float space[4][MOST_WINDOW / 2 + 1], seen[MOST_WINDOW];
  int64_t half = p.size / 2, before = p.size - p.hop;
  for (int r = batch.begin; r < batch.end; r++) {
    float *re = space[0], *im = space[1], *re2 = space[2], *im2 = space[3];
    float *tail = p.tail[batch.slots[r]], *in = p.in[r], *out = p.out[r];
    std::memcpy(seen, tail, 4 * before);
    std::memcpy(seen + before, in, 4 * p.hop);
    std::memcpy(tail, seen + p.hop, 4 * before);
    for (int64_t i = 0; i < half; i++) re[i] = p.window[2 * i] * seen[2 * i], im[i] = p.window[2 * i + 1] * seen[2 * i + 1];
    // Even samples as real and odd ones as imaginary parts: one transform of half the size gives both.
    transform(re, im, re2, im2, half, p.cosine, p.sine, 2);
    // Bin k needs the transform's values k and half - k; the first is the last one too.
    re[half] = re[0], im[half] = im[0];
    auto square = [=](int64_t k, float c, float s) {
      float er = 0.5f * (re[k] + re[half - k]), ei = 0.5f * (im[k] - im[half - k]);
      float odd_r = 0.5f * (im[k] + im[half - k]), odd_i = -0.5f * (re[k] - re[half - k]);
      float x = er + odd_r * c - odd_i * s, y = ei + odd_r * s + odd_i * c;
      return x * x + y * y;
    };
    for (int64_t k = 0; k < half; k++) out[k] = square(k, p.cosine[k], p.sine[k]);
    out[half] = square(half, -1.0f, 0.0f);
    by_vectors(half + 1, [=](int64_t i, int n) { store_some(out + i, square_root(load_some(out + i, n)), n); });
  }
}

// (log10(max(x, floor)) + 1) / 2, in place.
struct LogScale {
  Rows values;
  int64_t width;
  float floor;
};

static void log_scale(const LogScale& p, const Batch& batch) {
  for (int r = batch.begin; r < batch.end; r++) {
    float* values = p.values[r];
    by_vectors(p.width, [=](int64_t i, int n) {
      Vec decades = logarithm(larger(load_some(values + i, n), broadcast(p.floor))) * 0.4342944819f;
      store_some(values + i, (decades + 1.0f) * 0.5f, n);
    });
  }
}
