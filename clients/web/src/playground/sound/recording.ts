/** The microphone as a prompt: samples as they are spoken, until it is stopped or a minute is full. */

import { SAMPLE_RATE } from "../../events.js";
import { Microphone } from "../../microphone.js";

const MOST_SECONDS = 60;

export class Recording implements AsyncIterable<Float32Array> {
  /** Samples as they come. */
  onSamples: (samples: Float32Array) => void = () => {};
  private readonly kept: Float32Array[] = [];
  private sent = 0;
  private samples = 0;
  private over = false;
  private wake: (() => void) | null = null;

  private constructor(private readonly microphone: Microphone) {
    microphone.onSamples = (samples) => {
      if (this.over) return;
      this.kept.push(samples);
      this.samples += samples.length;
      this.onSamples(samples);
      if (this.samples >= (MOST_SECONDS - 0.1) * SAMPLE_RATE) this.stop();
      this.wake?.();
    };
    microphone.onEnded = () => this.stop();
  }

  static async start(): Promise<Recording> {
    return new Recording(await Microphone.open());
  }

  get seconds(): number {
    return this.samples / SAMPLE_RATE;
  }

  stop(): void {
    if (this.over) return;
    this.over = true;
    this.wake?.();
    void this.microphone.close();
  }

  /** All that was recorded. */
  all(): Float32Array {
    const all = new Float32Array(this.samples);
    let at = 0;
    for (const part of this.kept) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Float32Array> {
    while (this.sent < this.kept.length || !this.over) {
      const samples = this.kept[this.sent];
      if (samples) {
        this.sent += 1;
        yield samples;
      } else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}
