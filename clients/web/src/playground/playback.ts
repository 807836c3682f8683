/** What sounds, and where in the picture it stands. */

import { FRAME_SAMPLES } from "../events.js";
import type { JitterReport } from "../jitter.js";
import { Player } from "../player.js";

export class Playback {
  /** How playback stands: `frame` of the picture is heard; `over` if all that was given was. */
  onReport: (report: JitterReport, frame: number, over: boolean) => void = () => {};
  private player: Player | null = null;
  /** Samples of the picture before the first that was given. */
  private origin = 0;
  private given = 0;

  /** To be called from a click or a key, or browsers keep it silent. */
  async open(): Promise<void> {
    this.player ??= await Player.open();
    await this.player.context.resume();
    this.player.onReport = (report) => {
      const frame = Math.floor((this.origin + report.played) / FRAME_SAMPLES);
      this.onReport(report, frame, report.played >= this.given);
    };
  }

  /** Forget everything; what is given next begins at this sample of the picture. */
  start(origin: number): void {
    this.player?.reset();
    [this.origin, this.given] = [origin, 0];
  }

  /** It began at another sample of the picture than was thought. */
  startedAt(origin: number): void {
    this.origin = origin;
  }

  give(samples: Float32Array): void {
    this.given += samples.length;
    this.player!.push(samples.slice()); // what is given to the player is gone
  }

  /** No more will come. */
  finish(): void {
    this.player?.finish();
  }

  /** Nothing sounds: the loudspeaker need not run. */
  async rest(): Promise<void> {
    await this.player?.context.suspend();
  }

  get begun(): boolean {
    return this.given > 0;
  }
}
