/** One take while it is made: what the server says of it, as long as anybody waits for it. */

import { Continuation, type Prompt } from "../../continuation.js";
import { WhisperGPTError } from "../../errors.js";
import { type Sampling, SAMPLE_RATE } from "../../events.js";
import type { Server } from "../../server.js";
import { clock } from "../picture/axes.js";
import type { Take } from "./take.js";

export interface MakingTold {
  /** The last of the prompt is on its way. */
  sent(): void;
  started(): void;
  /** More is there; milliseconds from the prompt's end to the first sound, with that. */
  grew(firstAudio: number | null): void;
  refused(error: WhisperGPTError): void;
  reconnecting(error: WhisperGPTError, secondsLeft: number): void;
}

export class Making {
  private readonly continuation: Continuation;
  /** Whether nobody waits for it any more. */
  private over = false;
  /** Samples played when that was told to the server last. */
  private reported = 0;

  constructor(
    server: Server,
    readonly take: Take,
    told: MakingTold,
  ) {
    let sent = performance.now();
    /** `act`, if anybody still waits for it. */
    const ours = <T extends unknown[]>(act: (...told: T) => void) => (...told: T): void => void (this.over || act(...told));
    this.continuation = new Continuation(server, {
      sent: ours(() => {
        sent = performance.now();
        told.sent();
      }),
      started: ours((seed, fingerprint) => {
        const again = take.seed !== null;
        take.seed ??= seed;
        take.fingerprint = again && take.fingerprint !== fingerprint ? null : fingerprint;
        if (!again) told.started();
      }),
      audio: ours((samples) => {
        const first = take.seconds === 0;
        take.push(samples);
        told.grew(first ? performance.now() - sent : null);
        if (take.full && (take.wanted.seconds ?? Infinity) > take.seconds) {
          told.refused(new WhisperGPTError("A take has ten minutes at most: it ends here, and can be forked.", "full"));
          this.cancel();
        }
      }),
      refused: ours((error) => told.refused(error)),
      reconnecting: ours((error, left) => told.reconnecting(error, left)),
    });
  }

  /** Make it. Resolves once all of it is there; rejects with what ended it. */
  async run(source: Prompt): Promise<void> {
    try {
      const done = await this.continuation.play(source, this.take.wanted);
      if (done.status === "failed") throw new WhisperGPTError("It failed on the server.", "failed");
      if (!this.over) this.take.state = "whole";
    } catch (error) {
      if (this.take.full) return; // which ended it
      throw this.take.seed !== null && error instanceof WhisperGPTError ? new LostTake(error, this.take) : error;
    } finally {
      this.end();
    }
  }

  /** End it here and now; what was made stays. */
  cancel(): void {
    if (this.over) return;
    this.end();
    this.continuation.cancel();
  }

  /** Draw differently from the next frame on. */
  change(sampling: Sampling): void {
    this.continuation.change(sampling);
    this.take.move(sampling);
  }

  /** Say how far it was heard, once a second. */
  report(position: number): void {
    const played = Math.max(0, position - this.take.join);
    if (Math.abs(played - this.reported) < SAMPLE_RATE) return;
    this.reported = played;
    this.continuation.report(played, this.take.dropouts);
  }

  private end(): void {
    this.over = true;
    if (this.take.state === "making") this.take.state = "stopped";
    this.take.track.complete = true;
  }
}

/** The error that ended a take which had begun. */
export class LostTake extends WhisperGPTError {
  /** Whether the server was started again: the take ends where it is, and can be forked there. */
  readonly ends: boolean;

  constructor({ code, message, retryAfter }: WhisperGPTError, { track }: Take) {
    const ends = code === "bad_token";
    super(ends ? `The take ends at ${clock(track.seconds)}: the server was started again.` : message, code, retryAfter);
    this.ends = ends;
  }
}
