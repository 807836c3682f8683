import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, frequencyTicks, shownBands, shownSeconds, TimeAxis } from "../src/playground/picture/axes.js";
import { BANDS, bandOf, HIGHEST_HZ, LOWEST_HZ } from "../src/playground/picture/spectrum.js";
import { firstCut, isWhole, movedCut } from "../src/playground/sound/cut.js";
import { Track } from "../src/playground/sound/track.js";
import { fragmentOf, readFragment, recipeOf, wantedOf } from "../src/playground/takes/permalink.js";
import { Take } from "../src/playground/takes/take.js";
import { Takes } from "../src/playground/takes/takes.js";
import { placeOf, PLACES, topKAt } from "../src/playground/top_k.js";

const FRAME = 320;
const PROMPT = { kind: "bundled", name: "speech.flac", title: "Andrew, reading", blob: new Blob(["x"]), samples: ramp(1_000), cut: null } as const;
const WANTED = { model: "speech", seconds: 2, temperature: 0.9, top_k: 3, top_p: 0.5 };

function ramp(samples: number, from = 0): Float32Array {
  return Float32Array.from({ length: samples }, (_, i) => from + i);
}

/** A take of so many frames, whose samples count from 1,000. */
function takeOf(frames: number, seed: number): Take {
  const take = Take.of(WANTED, PROMPT);
  take.seed = seed;
  take.push(ramp(frames * FRAME, 1_000));
  return take;
}

test("a track gives any of its samples back, however they came", () => {
  const track = new Track();
  for (const [from, to] of [[0, 3], [3, 3], [3, 10], [10, 11]] as const) track.push(ramp(to - from, from));
  for (let from = 0; from <= 11; from++)
    for (let to = from; to <= 12; to++) assert.deepEqual([...track.read(from, to)], [...ramp(Math.min(11, to) - from, from)]);
});

test("a dropout is where a take was heard already", () => {
  const take = takeOf(4, 5);
  take.ranDry(1, take.join); // the prompt was heard, and the take's first sound waited for
  take.ranDry(0, 0);
  assert.equal(take.dropouts, 0);
  take.ranDry(1, take.join + 128);
  take.ranDry(2, take.join + 3 * FRAME);
  assert.equal(take.dropouts, 3);
  assert.equal(Take.fork(take, 2, WANTED).dropouts, 0, "a fork has its own");
});

test("a fork has its parent's past, and nothing of what comes after it", () => {
  const takes = new Takes();
  const [first, second] = [takeOf(10, 5), takeOf(4, 6)];
  const fork = Take.fork(first, first.frameAt(1_000 + 3 * FRAME + 7), { ...WANTED, seed: 8 });
  fork.push(ramp(FRAME));
  for (const take of [first, second, fork]) takes.add(take);
  const deep = Take.fork(fork, 1, WANTED);
  takes.add(deep);
  assert.deepEqual([fork.forkedAt, fork.join, fork.track.samples], [3, 1_000 + 3 * FRAME, 1_000 + 4 * FRAME]);
  assert.deepEqual(fork.track.read(0, fork.join), first.track.read(0, fork.join));
  assert.deepEqual(takes.all.map(({ name }) => name), ["1", "1.1", "1.1.1", "2"]);
  assert.deepEqual(Takes.lineOf(deep), [first, fork, deep]);
  assert.deepEqual(deep.stretches.map(({ from, kind }) => [from, kind]), [
    [0, "prompt"], [1_000, "take"], [1_000 + 3 * FRAME, "fork"], [1_000 + 4 * FRAME, "deep"],
  ]);
});

test("what a fork is made of is whole frames of all before it, a minute at most", async () => {
  const long = Take.of(WANTED, { ...PROMPT, samples: ramp(59 * 24_000 + 5) });
  long.push(ramp(2 * 24_000));
  for (const [frame, samples] of [[1, 59 * 24_000 + FRAME], [150, 60 * 24_000]] as const)
    assert.equal((await Take.fork(long, frame, WANTED).source.arrayBuffer()).byteLength, 44 + 2 * samples);
});

test("a permalink makes the same take again, and its forks", () => {
  const take = takeOf(150, 7);
  take.state = "whole";
  const fork = Take.fork(take, 30, { ...WANTED, seconds: null });
  fork.push(ramp(7 * FRAME));
  [fork.seed, fork.state] = [2 ** 53 - 1, "stopped"];
  const recipe = recipeOf(fork)!;
  assert.deepEqual(readFragment(fragmentOf(recipe)), recipe);
  assert.deepEqual(recipe.steps.map(({ frame, seed }) => [frame, seed]), [[0, 7], [30, 2 ** 53 - 1]]);
  take.move({ temperature: 1.5 });
  assert.deepEqual(readFragment(fragmentOf(recipeOf(fork)!)), { ...recipe, moved: true });
  assert.deepEqual(wantedOf(recipe, recipe.steps[0]!), { ...WANTED, seed: 7 });
  assert.equal(Math.ceil(recipe.steps[1]!.seconds * 75), 7, "as many frames as were made");
  const cut = { ...recipe, kind: "file" as const, prompt: "a & b = #1.wav", cut: { from: 1.25, to: 3 } };
  assert.deepEqual(readFragment(fragmentOf(cut)), cut);
});

test("a stopped take asks for exactly the frames that were made", () => {
  for (let frames = 1; frames < 2_000; frames++) {
    const take = takeOf(0, 1);
    take.push(new Float32Array(frames * FRAME));
    take.state = "stopped";
    assert.equal(Math.ceil(take.asked * 75), frames);
  }
});

test("an address that is none of a take is no recipe", () => {
  const good = "#model=speech&bundled=speech.flac&step=0,1,2,1,0,1";
  assert.ok(readFragment(good));
  const bad = ["", "#top", good.replace("model", "m"), good.replace("1,2,1", "x,2,1"), good.replace("0,1,2", "0,1.5,2"), `${good},1`];
  bad.push(good.replace("0,1,2", "0,1,0"), good.replace("0,1,2", "-1,1,2"), `${good}&cut=3,1`, good + "&step=1,1,1,1,0,1".repeat(20));
  for (const address of bad) assert.equal(readFragment(address), null, address);
});

test("a cut stays within the recording, and within what a server takes", () => {
  assert.deepEqual([firstCut(4), firstCut(95)], [{ from: 0, to: 4 }, { from: 0, to: 60 }]);
  let cut = firstCut(95);
  for (const [edge, second, from, to] of [
    ["to", 95, 35, 95], ["from", 94.9, 94.5, 95], ["from", 10, 10, 70], ["to", 10.1, 9.6, 10.1], ["to", 0, 0, 0.5], ["from", -3, 0, 0.5],
  ] as const) {
    cut = movedCut(cut, edge, second, 95);
    assert.ok(Math.abs(cut.from - from) < 1e-9 && Math.abs(cut.to - to) < 1e-9, `${edge} ${second}: ${cut.from} to ${cut.to}`);
  }
  assert.ok(isWhole({ from: 0, to: 4 }, 4) && !isWhole({ from: 0.1, to: 4 }, 4));
});

test("seconds stand where a click finds them, and labels have room", () => {
  const axis = new TimeAxis(30, 10, 38, 500);
  for (const second of [30, 31.7, 40]) assert.ok(Math.abs(axis.secondAt(axis.xOf(second)) - second) < 1e-9);
  assert.deepEqual([axis.secondAt(0), axis.secondAt(9_999)], [30, 40]);
  for (const [seconds, width] of [[0.5, 300], [4, 1_200], [21, 320], [600, 900]] as const) {
    const ticks = new TimeAxis(0, seconds, 0, width).ticks(64);
    assert.ok(ticks.length >= 2 && (ticks[1]!.at / seconds) * width >= 64, `${seconds} s`);
  }
  assert.deepEqual(new TimeAxis(0, 2, 0, 300).ticks(64).map(({ label }) => label), ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s"]);
  assert.deepEqual(new TimeAxis(0, 120, 0, 300).ticks(64).map(({ label }) => label), ["0:00", "0:30", "1:00", "1:30", "2:00"]);
  assert.deepEqual([clock(0), clock(59.96), clock(83.25), clock(600, 0)], ["0:00.0", "1:00.0", "1:23.3", "10:00"]);
});

test("the picture's height is used for what sounds", () => {
  assert.deepEqual([bandOf(LOWEST_HZ), bandOf(HIGHEST_HZ)], [0, BANDS]);
  assert.deepEqual(frequencyTicks(shownBands(bandOf(7_000))).map(({ label }) => label), ["0.1", "0.2", "0.5", "1", "2", "5"]);
  assert.equal(frequencyTicks(shownBands(BANDS)).at(-1)!.label, "10");
  assert.ok(shownBands(10) >= bandOf(4_000) && shownBands(BANDS) === BANDS);
});

test("while more comes, the last of it is seen", () => {
  assert.deepEqual(shownSeconds(40, 10, 90), { from: 0, seconds: 40 });
  assert.deepEqual(shownSeconds(400, null, 90), { from: 0, seconds: 400 });
  assert.deepEqual(shownSeconds(400, 100, 90), { from: 28, seconds: 90 });
  assert.deepEqual(shownSeconds(101, 100, 90), { from: 11, seconds: 90 });
  for (const [following, from] of [[10, 0], [89, 0], [90, 45], [134, 45], [135, 90], [399, 310]] as const)
    assert.deepEqual(shownSeconds(400, following, 90, true), { from, seconds: 90 }, "without movement");
});

test("top-k has a logarithmic scale that ends with all", () => {
  assert.deepEqual([0, 10, 50, PLACES, PLACES + 1].map(topKAt), [1, 2, 32, 1024, 0]);
  for (const k of [0, 1, 2, 32, 1024]) assert.equal(topKAt(placeOf(k)), k);
});
