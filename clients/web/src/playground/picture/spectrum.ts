/** Samples to columns of a picture: how loud each band of each frame is. */

import { FRAME_SAMPLES, SAMPLE_RATE } from "../../events.js";

export const BANDS = 160;
export const LOWEST_HZ = 80;
export const HIGHEST_HZ = SAMPLE_RATE / 2;
const WINDOW = 1024;
/** The window and as many zeros, so that bins are closer. */
const SIZE = 2048;
const QUIETEST_DB = -72;
const LOUDEST_DB = -8;

/** Where a frequency stands among the bands, which are evenly spaced in pitch. */
export function bandOf(hertz: number): number {
  return (BANDS * Math.log(hertz / LOWEST_HZ)) / Math.log(HIGHEST_HZ / LOWEST_HZ);
}

/** Columns `[BANDS]` of 0…255, low bands first, one for each 320 samples: causal, as the model's own slices are. */
export class Spectrum {
  private readonly tail = new Float32Array(WINDOW);
  private readonly window = Float32Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));
  private readonly edges = Float32Array.from({ length: BANDS + 1 }, (_, band) => (hertzOf(band) * SIZE) / SAMPLE_RATE);
  private readonly real = new Float32Array(SIZE);
  private readonly imaginary = new Float32Array(SIZE);
  private rest = new Float32Array(0);

  push(samples: Float32Array): Uint8Array[] {
    const all = new Float32Array(this.rest.length + samples.length);
    all.set(this.rest);
    all.set(samples, this.rest.length);
    const columns: Uint8Array[] = [];
    let at = 0;
    for (; at + FRAME_SAMPLES <= all.length; at += FRAME_SAMPLES) {
      this.tail.copyWithin(0, FRAME_SAMPLES);
      this.tail.set(all.subarray(at, at + FRAME_SAMPLES), WINDOW - FRAME_SAMPLES);
      columns.push(this.column());
    }
    this.rest = all.slice(at);
    return columns;
  }

  private column(): Uint8Array {
    const { real, imaginary } = this;
    real.fill(0);
    imaginary.fill(0);
    this.tail.forEach((sample, i) => (real[i] = sample * this.window[i]!));
    transform(real, imaginary);
    const column = new Uint8Array(BANDS);
    for (let band = 0; band < BANDS; band++) {
      const decibels = 10 * Math.log10(this.power(this.edges[band]!, this.edges[band + 1]!) / (WINDOW / 4) ** 2 + 1e-12);
      column[band] = Math.max(0, Math.min(255, (255 * (decibels - QUIETEST_DB)) / (LOUDEST_DB - QUIETEST_DB)));
    }
    return column;
  }

  /** The loudest between two places among the bins; where no bin lies between them, what lies at their middle. */
  private power(from: number, to: number): number {
    const at = (bin: number): number => this.real[bin]! ** 2 + this.imaginary[bin]! ** 2;
    let most = 0;
    for (let bin = Math.ceil(from); bin < Math.min(to, SIZE / 2); bin++) most = Math.max(most, at(bin));
    if (to - from > 1) return most;
    const middle = (from + to) / 2;
    const [below, share] = [Math.floor(middle), middle % 1];
    return Math.max(most, at(below) * (1 - share) + at(below + 1) * share);
  }
}

/** The frequency at which a band begins. */
function hertzOf(band: number): number {
  return LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (band / BANDS);
}

/** The discrete Fourier transform of `[n]`, a power of two, in place (Cooley and Tukey 1965). */
export function transform(real: Float32Array, imaginary: Float32Array): void {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j]!, real[i]!];
      [imaginary[i], imaginary[j]] = [imaginary[j]!, imaginary[i]!];
    }
  }
  for (let half = 1; half < n; half *= 2) {
    for (let k = 0; k < half; k++) {
      const angle = (-Math.PI * k) / half;
      const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
      for (let i = k; i < n; i += 2 * half) {
        const a = real[i + half]! * cosine - imaginary[i + half]! * sine;
        const b = real[i + half]! * sine + imaginary[i + half]! * cosine;
        real[i + half] = real[i]! - a;
        imaginary[i + half] = imaginary[i]! - b;
        real[i]! += a;
        imaginary[i]! += b;
      }
    }
  }
}
