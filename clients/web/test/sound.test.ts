import assert from "node:assert/strict";
import { test } from "node:test";
import { bandOf, Spectrum, transform } from "../src/playground/picture/spectrum.js";
import { wavOf } from "../src/playground/sound/wav.js";
import { toFloats, toPcm } from "../src/samples.js";

test("samples survive the wire, and what is too loud is cut", () => {
  const samples = Float32Array.from([0, 0.5, -0.5, 1.5, -1.5]);
  const back = toFloats(toPcm(samples).buffer as ArrayBuffer);
  assert.deepEqual([...back.slice(0, 3)], [0, 0.5, -0.5]);
  assert.ok(back[3]! > 0.9999 && back[4] === -1);
});

test("the transform is the sum that defines it", () => {
  const size = 16;
  const [real, imaginary] = [Float32Array.from({ length: size }, (_, i) => Math.sin(i * i)), new Float32Array(size)];
  const given = real.slice();
  transform(real, imaginary);
  for (let k = 0; k < size; k++) {
    const angle = (i: number): number => (-2 * Math.PI * k * i) / size;
    assert.ok(Math.abs(real[k]! - given.reduce((sum, x, i) => sum + x * Math.cos(angle(i)), 0)) < 1e-4);
    assert.ok(Math.abs(imaginary[k]! - given.reduce((sum, x, i) => sum + x * Math.sin(angle(i)), 0)) < 1e-4);
  }
});

test("a tone is one band, a column for each frame, however it is cut", () => {
  const tone = Float32Array.from({ length: 6_400 }, (_, i) => 0.5 * Math.sin((2 * Math.PI * 1_000 * i) / 24_000));
  const columns = new Spectrum().push(tone);
  assert.equal(columns.length, 20);
  const last = columns[19]!;
  const loudest = last.indexOf(Math.max(...last));
  assert.ok(Math.abs(loudest + 0.5 - bandOf(1_000)) <= 1, "the band of 1 kHz");
  const cut = new Spectrum();
  const parts = [...cut.push(tone.subarray(0, 777)), ...cut.push(tone.subarray(777))];
  assert.deepEqual(parts, columns);
});

test("a wav file says what it holds", async () => {
  const bytes = new DataView(await wavOf([new Float32Array(10), new Float32Array(5)]).arrayBuffer());
  assert.equal(bytes.byteLength, 44 + 30);
  assert.deepEqual([bytes.getUint32(4, true), bytes.getUint32(24, true), bytes.getUint32(40, true)], [66, 24_000, 30]);
});
