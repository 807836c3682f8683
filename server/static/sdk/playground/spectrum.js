/** Samples to columns of a picture: how loud each band of each frame is. */
import { FRAME_SAMPLES, SAMPLE_RATE } from "../events.js";
export const BANDS = 96;
const SIZE = 1024;
const LOWEST_HZ = 60;
const QUIETEST_DB = -75;
const LOUDEST_DB = -5;
/** Columns `[BANDS]` of 0…255, low bands first, one for each 320 samples: causal, as the model's own slices are. */
export class Spectrum {
    tail = new Float32Array(SIZE);
    window = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
    edges = bandEdges();
    rest = new Float32Array(0);
    push(samples) {
        const all = new Float32Array(this.rest.length + samples.length);
        all.set(this.rest);
        all.set(samples, this.rest.length);
        const columns = [];
        let at = 0;
        for (; at + FRAME_SAMPLES <= all.length; at += FRAME_SAMPLES) {
            this.tail.copyWithin(0, FRAME_SAMPLES);
            this.tail.set(all.subarray(at, at + FRAME_SAMPLES), SIZE - FRAME_SAMPLES);
            columns.push(this.column());
        }
        this.rest = all.slice(at);
        return columns;
    }
    column() {
        const real = this.tail.map((sample, i) => sample * this.window[i]);
        const imaginary = new Float32Array(SIZE);
        transform(real, imaginary);
        const column = new Uint8Array(BANDS);
        for (let band = 0; band < BANDS; band++) {
            let power = 0;
            for (let bin = this.edges[band]; bin < this.edges[band + 1]; bin++)
                power = Math.max(power, real[bin] ** 2 + imaginary[bin] ** 2);
            const decibels = 10 * Math.log10(power / (SIZE / 4) ** 2 + 1e-12);
            column[band] = Math.max(0, Math.min(255, (255 * (decibels - QUIETEST_DB)) / (LOUDEST_DB - QUIETEST_DB)));
        }
        return column;
    }
}
/** First bin of each band and the end of the last: evenly spaced in pitch, each at least one bin. */
function bandEdges() {
    const top = SIZE / 2;
    const octaves = Math.log2(SAMPLE_RATE / 2 / LOWEST_HZ);
    const edges = [Math.round((LOWEST_HZ * SIZE) / SAMPLE_RATE)];
    for (let band = 1; band <= BANDS; band++) {
        const bin = Math.round((LOWEST_HZ * 2 ** ((octaves * band) / BANDS) * SIZE) / SAMPLE_RATE);
        edges.push(Math.min(top, Math.max(edges[band - 1] + 1, bin)));
    }
    return edges;
}
/** The discrete Fourier transform of `[n]`, a power of two, in place (Cooley and Tukey 1965). */
export function transform(real, imaginary) {
    const n = real.length;
    for (let i = 1, j = 0; i < n; i++) {
        let bit = n >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            [real[i], real[j]] = [real[j], real[i]];
            [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
        }
    }
    for (let half = 1; half < n; half *= 2) {
        for (let k = 0; k < half; k++) {
            const angle = (-Math.PI * k) / half;
            const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
            for (let i = k; i < n; i += 2 * half) {
                const a = real[i + half] * cosine - imaginary[i + half] * sine;
                const b = real[i + half] * sine + imaginary[i + half] * cosine;
                real[i + half] = real[i] - a;
                imaginary[i + half] = imaginary[i] - b;
                real[i] += a;
                imaginary[i] += b;
            }
        }
    }
}
