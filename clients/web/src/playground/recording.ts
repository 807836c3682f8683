/** The microphone as a prompt: samples as they are spoken, until it is stopped or a minute is full. */

import { SAMPLE_RATE } from "../events.js";
import { Microphone } from "../microphone.js";

const MOST_SECONDS = 60;

export class Recording implements AsyncIterable<Float32Array> {
  private readonly waiting: Float32Array[] = [];
  private samples = 0;
  private over = false;
  private wake: (() => void) | null = null;

  private constructor(
    private readonly microphone: Microphone,
    heard: (samples: Float32Array) => void,
  ) {
    microphone.onSamples = (samples) => {
      if (this.over) return;
      heard(samples);
      this.waiting.push(samples);
      this.samples += samples.length;
      if (this.samples >= (MOST_SECONDS - 0.1) * SAMPLE_RATE) this.stop();
      this.wake?.();
    };
  }

  /** Begin. `heard` gets the samples too. */
  static async start(heard: (samples: Float32Array) => void): Promise<Recording> {
    return new Recording(await Microphone.open(), heard);
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

  async *[Symbol.asyncIterator](): AsyncGenerator<Float32Array> {
    while (this.waiting.length || !this.over) {
      const samples = this.waiting.shift();
      if (samples) yield samples;
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}
