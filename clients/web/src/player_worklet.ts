/** The audio thread's side of the player. */

import { JitterBuffer, type JitterReport } from "./jitter.js";

declare const sampleRate: number;
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}

/** What the player says to it: samples, or that there are no more, or to begin anew, or to stand still. */
export type PlayerOrder = Float32Array | "finish" | "reset" | "pause" | "resume";

/** What it says of itself; `resets` tells those apart that were on their way when it was told to begin anew. */
export type PlayerReport = JitterReport & { resets: number };

const REPORT_SECONDS = 0.1;

class Player extends AudioWorkletProcessor {
  private buffer = new JitterBuffer(sampleRate);
  private paused = false;
  private unsaid = 0;
  private resets = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<PlayerOrder>) => {
      if (data instanceof Float32Array) this.buffer.push(data);
      else if (data === "finish") this.buffer.finish();
      else if (data === "reset") this.reset();
      else this.paused = data === "pause";
    };
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const out = outputs[0]![0]!;
    if (this.paused) out.fill(0);
    else this.buffer.pull(out);
    this.unsaid += out.length;
    if (this.unsaid >= REPORT_SECONDS * sampleRate) {
      this.unsaid = 0;
      this.port.postMessage({ ...this.buffer.report(), resets: this.resets } satisfies PlayerReport);
    }
    return true;
  }

  private reset(): void {
    this.buffer = new JitterBuffer(sampleRate);
    this.resets += 1;
  }
}

registerProcessor("whispergpt-player", Player);
