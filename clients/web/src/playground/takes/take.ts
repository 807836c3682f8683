/** What one Continue made, or one fork: its sound, and how to make it again. */

import type { Wanted } from "../../continuation.js";
import type { Sampling } from "../../events.js";
import { FRAME_RATE, FRAME_SAMPLES, SAMPLE_RATE } from "../../events.js";
import { promptPath } from "../../server.js";
import type { Stretch } from "../picture/picture.js";
import { LONGEST_SECONDS } from "../sound/cut.js";
import type { UsedPrompt } from "../sound/prompt.js";
import { Track } from "../sound/track.js";
import { wavOf } from "../sound/wav.js";

export const MOST_KEPT_SECONDS = 600;
/** Depths of the tree of takes, each in a colour of its own. */
const KINDS = ["take", "fork", "deep"] as const;
/** Moves of sliders within so many samples count as one. */
const ONE_MOVE = SAMPLE_RATE / 2;
const LONGEST_PROMPT_SAMPLES = LONGEST_SECONDS * SAMPLE_RATE;

export type TakeState = "making" | "whole" | "stopped";

export class Take {
  /** The prompt, of a fork also what comes before it, and what was made. */
  readonly track = new Track();
  readonly forks: Take[] = [];
  /** Such as `2`, or `2.1` for its first fork. */
  name = "";
  state: TakeState = "making";
  /** Null until the server has said it. */
  seed: number | null = null;
  /** Of the engine that made it; null until the server has said it, and where several did. */
  fingerprint: string | null = null;
  /** Sliders that were moved while it was made, each with the sample of the track that had come by then. */
  readonly moves: { at: number; sampling: Sampling }[] = [];
  /** Whether it was saved. */
  kept = false;
  /** Milliseconds from the prompt's end to the first sound. */
  firstAudio: number | null = null;
  /** Seconds that came and are not heard yet, while it is heard for the first time. */
  buffered = 0;
  /** How often playback waited for it. */
  dropouts = 0;
  /** Samples of the track before the first that was made. */
  join = 0;
  private made = 0;

  private constructor(
    readonly wanted: Wanted,
    /** Null while it is being recorded. */
    public prompt: UsedPrompt | null,
    /** The take that this one is a fork of. */
    readonly parent: Take | null,
  ) {}

  /** @param prompt null while it is being recorded */
  static of(wanted: Wanted, prompt: UsedPrompt | null): Take {
    const take = new Take(wanted, null, null);
    if (prompt) take.recorded(prompt);
    return take;
  }

  /** Another future of a take from this frame of what was made on; made as a continuation of all before it. */
  static fork(parent: Take, frame: number, wanted: Wanted): Take {
    const take = new Take(wanted, parent.prompt, parent);
    take.track.push(parent.track.read(0, parent.join + frame * FRAME_SAMPLES));
    take.join = take.track.samples;
    return take;
  }

  /** The prompt is there. */
  recorded(prompt: UsedPrompt): void {
    this.prompt = prompt;
    if (prompt.samples) this.track.push(prompt.samples);
    this.join = this.track.samples;
  }

  /** Sliders were moved. */
  move(sampling: Sampling): void {
    const last = this.moves.at(-1);
    if (last && this.track.samples - last.at < ONE_MOVE) Object.assign(last.sampling, sampling);
    else this.moves.push({ at: this.track.samples, sampling: { ...sampling } });
  }

  /** Playback ran dry so often, the last time behind this sample of the track. What is waited for before the first
   * sound of the take is no dropout, even where that sound has come by now. */
  ranDry(times: number, behind: number): void {
    if (behind > this.join) this.dropouts += times;
  }

  /** Whether sliders were moved while it was made. */
  get changed(): boolean {
    return this.moves.length > 0;
  }

  push(samples: Float32Array): void {
    const kept = samples.subarray(0, MOST_KEPT_SECONDS * SAMPLE_RATE - this.made);
    this.made += kept.length;
    if (kept.length) this.track.push(kept);
  }

  /** Whether no more of it is kept. */
  get full(): boolean {
    return this.made >= MOST_KEPT_SECONDS * SAMPLE_RATE;
  }

  /** Seconds that were made. */
  get seconds(): number {
    return this.made / SAMPLE_RATE;
  }

  /** The frame of what was made at which a sample of the track stands. */
  frameAt(sample: number): number {
    return Math.max(0, Math.floor((Math.min(sample, this.track.samples) - this.join) / FRAME_SAMPLES));
  }

  /** The frame of the parent's at which this one goes another way. */
  get forkedAt(): number {
    return this.parent ? this.parent.frameAt(this.join) : 0;
  }

  /** What was sent to be continued, as a file. */
  get source(): Blob {
    if (!this.parent) return this.prompt!.blob!;
    const longest = Math.min(this.join, LONGEST_PROMPT_SAMPLES);
    return wavOf([this.track.read(this.join - FRAME_SAMPLES * Math.floor(longest / FRAME_SAMPLES), this.join)]);
  }

  /** Whether a file that somebody has, or can fetch, is all that was sent. */
  get sentAsIs(): boolean {
    return !this.parent && !this.prompt?.cut && this.prompt?.kind !== "recording";
  }

  get kind(): Stretch["kind"] {
    return KINDS[this.depth % KINDS.length]!;
  }

  get stretches(): Stretch[] {
    if (!this.parent) return [{ from: 0, kind: "prompt", label: "prompt" }, { from: this.join, kind: "take", label: `take ${this.name}` }];
    return [...this.parent.stretches, { from: this.join, kind: this.kind, label: `fork ${this.name}` }];
  }

  private get depth(): number {
    return this.parent ? this.parent.depth + 1 : 0;
  }

  /** The name of a file of it, such as `andrew-take-1`. */
  get fileName(): string {
    const title = this.prompt?.title.split(/[,.]/)[0] || "sound";
    return `${title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-")}-${this.parent ? "fork" : "take"}-${this.name}`;
  }

  /** The take of its line that this sample is part of; null for the prompt. */
  partAt(sample: number): Take | null {
    if (!this.parent) return sample >= this.join ? this : null;
    return sample > this.join ? this : this.parent.partAt(sample);
  }

  /** @param tags a chunk for the file's end */
  wav(tags: Uint8Array<ArrayBuffer>): Blob {
    return wavOf([this.track.read(this.join)], tags);
  }

  /** @param tags a chunk for the file's end */
  wavWithPrompt(tags: Uint8Array<ArrayBuffer>): Blob {
    return wavOf([this.track.read(0)], tags);
  }

  /** The seconds to ask for to get the same again; a server makes the frames that begin within them. */
  get asked(): number {
    if (this.state === "whole" && this.wanted.seconds !== null) return Math.min(MOST_KEPT_SECONDS, this.wanted.seconds);
    const frames = Math.max(1, Math.min(MOST_KEPT_SECONDS * FRAME_RATE, this.made / FRAME_SAMPLES));
    const seconds = rounded(frames / FRAME_RATE);
    return Math.ceil(seconds * FRAME_RATE) === frames ? seconds : rounded((frames - 0.5) / FRAME_RATE);
  }

  /** The name of the file that was sent. */
  get sourceName(): string {
    if (this.sentAsIs) return this.prompt!.name;
    return this.parent ? `before-fork-${this.name}.wav` : `prompt-of-take-${this.name}.wav`;
  }

  /** The command that makes the same samples again, but for what `difference` says. */
  curl(origin: string, needsKey: boolean): string {
    const { seconds: _, seed: __, pace: ___, ...fields } = this.wanted;
    const wanted = { ...fields, seconds: this.asked, ...(this.seed === null ? {} : { seed: this.seed }) };
    const form = Object.entries(wanted).map(([name, value]) => `-F ${name}=${String(value)}`);
    const key = needsKey ? ["-H 'Authorization: Bearer YOUR_KEY'"] : [];
    const bundled = this.sentAsIs && this.prompt?.kind === "bundled";
    const file = bundled ? `'audio=@-;filename=${this.sourceName}'` : quoted(this.sourceName);
    const command = ["curl --fail-with-body", ...key, "-F", file, ...form, "-o continuation.wav", `${origin}/continue`];
    const fetched = bundled ? `curl -s ${origin}${promptPath(this.sourceName.replace(/\.flac$/, ""))} | ` : "";
    return fetched + command.join(" ");
  }

  /** What else it takes, and what was done while it played, which no command does. */
  get difference(): string {
    const saved = this.sentAsIs ? "" : `Save ${this.sourceName} beside it: press “Save the prompt”. `;
    return saved + (this.changed ? "It leaves out what the sliders did while it played." : "");
  }
}

function rounded(seconds: number): number {
  return Math.round(1e4 * seconds) / 1e4;
}

/** A file's name as curl reads it within a form, as a shell reads that. */
function quoted(name: string): string {
  const form = `audio=@"${name.replace(/["\\]/g, "\\$&")}"`;
  return `'${form.replaceAll("'", "'\\''")}'`;
}
