/** Plays samples as they come, through a jitter buffer in the audio thread. */

import { SAMPLE_RATE } from "./events.js";
import type { JitterReport } from "./jitter.js";
import { insecure, unreachable, WhisperGPTError } from "./errors.js";
import type { PlayerOrder, PlayerReport } from "./player_worklet.js";

export class Player {
  /** How playback stands; told ten times a second. */
  onReport: (report: JitterReport) => void = () => {};
  /** Of what is heard. */
  readonly analyser: AnalyserNode;
  private resets = 0;

  private constructor(
    readonly context: AudioContext,
    private readonly node: AudioWorkletNode,
  ) {
    this.analyser = new AnalyserNode(context, { fftSize: 2048 });
    node.connect(this.analyser).connect(context.destination);
    node.port.onmessage = ({ data }: MessageEvent<PlayerReport>) => {
      if (data.resets === this.resets) this.onReport(data);
    };
  }

  /** A player at the server's rate. To be called from a click or a key, or browsers keep it silent. */
  static async open(): Promise<Player> {
    const refused = insecure();
    if (refused) throw refused;
    if (typeof AudioWorkletNode === "undefined")
      throw new WhisperGPTError("This browser cannot play live audio; one from 2021 or later can (AudioWorklet).", "old_browser");
    const context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "interactive" });
    try {
      await context.audioWorklet.addModule(new URL("./player_worklet.js", import.meta.url));
    } catch {
      void context.close();
      throw unreachable(import.meta.url);
    }
    const node = new AudioWorkletNode(context, "whispergpt-player", { numberOfInputs: 0, outputChannelCount: [1] });
    return new Player(context, node);
  }

  /** Play these behind what is in hand. */
  push(samples: Float32Array): void {
    this.tell(samples, [samples.buffer]);
  }

  /** No more will come. */
  finish(): void {
    this.tell("finish");
  }

  /** Forget what is in hand, and all that was counted. */
  reset(): void {
    this.resets += 1;
    this.tell("reset");
  }

  pause(paused: boolean): void {
    this.tell(paused ? "pause" : "resume");
  }

  async close(): Promise<void> {
    await this.context.close();
  }

  private tell(order: PlayerOrder, moved: Transferable[] = []): void {
    this.node.port.postMessage(order, moved);
  }
}
