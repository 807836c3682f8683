/** What one Continue made: its samples, and how to make them again. */

import type { Wanted } from "../continuation.js";
import { FRAME_SAMPLES, SAMPLE_RATE } from "../events.js";
import { promptPath } from "../server.js";
import type { ChosenPrompt } from "./prompt.js";
import { wavOf } from "./wav.js";

export const MOST_KEPT_SECONDS = 600;

export class Take {
  private readonly kept: Float32Array[] = [];
  /** Of all that came, kept or not. */
  samples = 0;
  /** That it began with; null until the server has said it. */
  seed: number | null = null;
  /** From which frames on it went another way. */
  readonly forks: number[] = [];
  /** Whether sliders were moved while it was made. */
  changed = false;

  /** @param prompt null while it is being recorded */
  constructor(
    readonly wanted: Wanted,
    public prompt: ChosenPrompt | null,
  ) {}

  push(samples: Float32Array): void {
    this.samples += samples.length;
    if (this.samples <= MOST_KEPT_SECONDS * SAMPLE_RATE) this.kept.push(samples);
  }

  get seconds(): number {
    return this.samples / SAMPLE_RATE;
  }

  /** Prompt and continuation one behind the other, as far as they are here. */
  withPrompt(): Float32Array[] {
    return this.prompt?.samples ? [this.prompt.samples, ...this.kept] : this.kept;
  }

  wav(): Blob {
    return wavOf(this.kept);
  }

  wavWithPrompt(): Blob {
    return wavOf(this.withPrompt());
  }

  /** The command that makes the same samples again, but for what `difference` says. */
  curl(origin: string, needsKey: boolean): string {
    const { seconds: _, seed: __, ...fields } = this.wanted;
    const wanted = { ...fields, seconds: this.asked, ...(this.seed === null ? {} : { seed: this.seed }) };
    const form = Object.entries(wanted).map(([name, value]) => `-F ${name}=${String(value)}`);
    const key = needsKey ? ["-H 'Authorization: Bearer YOUR_KEY'"] : [];
    const bundled = this.prompt?.kind === "bundled";
    const name = this.prompt?.name ?? "recording.wav";
    const file = bundled ? `'audio=@-;filename=${name}'` : quoted(name);
    const command = ["curl --fail-with-body", ...key, "-F", file, ...form, "-o continuation.wav", `${origin}/continue`];
    const fetched = bundled ? `curl -s ${origin}${promptPath(name.replace(/\.flac$/, ""))} | ` : "";
    return fetched + command.join(" ");
  }

  /** What else it takes, and what was done while it played, which no command does. */
  get difference(): string {
    const saved = this.prompt?.kind === "recording" ? "Save the recording beside it: press its name. " : "";
    return saved + this.undone;
  }

  private get undone(): string {
    if (this.forks.length) return `It makes the future before the fork at ${((this.forks[0]! * FRAME_SAMPLES) / SAMPLE_RATE).toFixed(2)} s.`;
    return this.changed ? "It leaves out what the sliders did while it played." : "";
  }

  private get asked(): number {
    return Math.min(MOST_KEPT_SECONDS, this.wanted.seconds ?? Math.max(1, Math.ceil(this.seconds)));
  }
}

/** A file's name as curl reads it within a form, as a shell reads that. */
function quoted(name: string): string {
  const form = `audio=@"${name.replace(/["\\]/g, "\\$&")}"`;
  return `'${form.replaceAll("'", "'\\''")}'`;
}
