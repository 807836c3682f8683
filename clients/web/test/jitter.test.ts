import assert from "node:assert/strict";
import { test } from "node:test";
import { JitterBuffer } from "../src/jitter.js";

const RATE = 24_000;
const BLOCK = 128;

/** Pull so many seconds; returns all samples. */
function listen(buffer: JitterBuffer, seconds: number): Float32Array {
  const out = new Float32Array(Math.round((seconds * RATE) / BLOCK) * BLOCK);
  for (let at = 0; at < out.length; at += BLOCK) buffer.pull(out.subarray(at, at + BLOCK));
  return out;
}

function ramp(samples: number, from = 1): Float32Array {
  return Float32Array.from({ length: samples }, (_, i) => from + i);
}

test("playing starts once the target is there, and is whole", () => {
  const buffer = new JitterBuffer(RATE, 0.1);
  buffer.push(ramp(2_000));
  assert.ok(listen(buffer, 0.05).every((sample) => sample === 0));
  buffer.push(ramp(2_000, 2_001));
  buffer.finish();
  const heard = listen(buffer, 0.2);
  assert.deepEqual([...heard.slice(0, 4_000)], [...ramp(4_000)]);
  assert.ok(heard.slice(4_000).every((sample) => sample === 0));
  assert.deepEqual(buffer.report(), { buffered: 0, target: 0.1, played: 4_000, underruns: 0, dryAt: 0, playing: false });
});

test("what is shorter than the target is played at its end", () => {
  const buffer = new JitterBuffer(RATE, 0.5);
  buffer.push(ramp(100));
  buffer.finish();
  assert.equal(listen(buffer, 0.02)[99], 100);
  assert.equal(buffer.report().underruns, 0);
});

test("running dry is counted once, and more is kept in hand after it", () => {
  const buffer = new JitterBuffer(RATE, 0.1);
  buffer.push(ramp(2_400));
  listen(buffer, 0.5);
  const dry = buffer.report();
  assert.deepEqual([dry.underruns, dry.dryAt, dry.played, dry.playing], [1, 2_400, 2_400, false]);
  assert.ok(dry.target > 0.1);
  buffer.push(ramp(2_400));
  assert.ok(listen(buffer, 0.1).every((sample) => sample === 0), "the old target is not enough any more");
  buffer.push(ramp(2_400));
  assert.ok(listen(buffer, 0.1).some((sample) => sample !== 0));
  listen(buffer, 0.5);
  assert.deepEqual([buffer.report().underruns, buffer.report().dryAt], [2, 7_200]);
});

test("the target is bounded, and shrinks where all is calm", () => {
  const buffer = new JitterBuffer(RATE, 0.1);
  for (let gap = 0; gap < 30; gap++) {
    buffer.push(ramp(2 * RATE));
    listen(buffer, 3);
  }
  const worst = buffer.report().target;
  assert.equal(worst, 1.5);
  for (let second = 0; second < 40; second++) {
    buffer.push(ramp(second < 5 ? 2 * RATE : RATE));
    listen(buffer, 1);
  }
  assert.ok(buffer.report().target < worst);
});
