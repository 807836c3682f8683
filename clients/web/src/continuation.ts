/**
 * One continuation: from a prompt to its last sample, over as many connections as it takes.
 *
 * A connection that is lost while it plays is made anew, and the response goes on behind the last frame that came.
 */

import { Connection, type Wire } from "./connection.js";
import { WhisperGPTError } from "./errors.js";
import { FRAME_RATE, FRAME_SAMPLES, SAMPLE_RATE, type Done, type Sampling, type SessionFields } from "./events.js";
import { toFloats, toPcm } from "./samples.js";
import type { Server } from "./server.js";

/** A file (a `File` of an input is a `Blob`), its bytes, or live samples that end when they end. */
export type Prompt = Blob | ArrayBuffer | ArrayBufferView<ArrayBuffer> | AsyncIterable<Float32Array>;

export interface Wanted extends SessionFields {
  /** null plays until cancelled. */
  seconds: number | null;
}

export interface Told {
  /** The last of the prompt is on its way. */
  sent?: () => void;
  /** The prompt was taken in: its seconds. */
  prompt?: (seconds: number) => void;
  /** The response began, or goes on over another connection, with this seed on an engine with this fingerprint. */
  started?: (seed: number, fingerprint: string) => void;
  audio: (samples: Float32Array) => void;
  /** It goes on with this seed from this frame on. */
  forked?: (seed: number, frame: number) => void;
  /** A wish could not be met; what plays goes on. */
  refused?: (error: WhisperGPTError) => void;
  /** The connection was lost, and another is tried, for so many seconds more. */
  reconnecting?: (error: WhisperGPTError, secondsLeft: number) => void;
}

const TRY_SECONDS = 30;
const FIRST_PAUSE = 0.1;
const LONGEST_PAUSE = 2;
/** So long a server may take to say that it has cancelled. */
const GOODBYE_SECONDS = 2;
/** So long it may take to begin a session. */
const CONNECT_SECONDS = 10;
/** So long it may take for what it does in turns: to take a prompt in, and to find a slot. */
const ANSWER_SECONDS = 120;
/** So long nothing may come of a response that plays: longer than a server waits for its engine (60 s), of whose end it tells. */
const SILENT_SECONDS = 75;

function isLive(prompt: Prompt): prompt is AsyncIterable<Float32Array> {
  return Symbol.asyncIterator in prompt;
}

export class Continuation {
  private connection: Connection | null = null;
  private token: { resume_token: string; frame: number } | null = null;
  private frames = 0;
  /** Whether it was to end early. */
  cancelled = false;
  private playing = false;
  /** How often playback stood still, as was said last; and as was said before this connection began. */
  private underruns = { said: 0, before: 0 };
  private sampling: Sampling = {};
  private forked: number | null = null;
  /** What the server said of the response last. */
  private made = { id: "", seed: 0 };
  private readonly leaving = new AbortController();

  constructor(
    private readonly server: Server,
    private readonly told: Told,
    private readonly dial: (address: string) => Wire = ownWebSocket,
  ) {}

  /** Play it. Resolves once all of it came; rejects with what ended it. */
  async play(prompt: Prompt, wanted: Wanted): Promise<Done> {
    const { seconds, ...session } = wanted;
    try {
      return await this.attempt(async (connection) => {
        await this.configure(connection, isLive(prompt) ? { ...session, input: PCM } : session);
        await this.send(connection, prompt);
        connection.say("response.create", { response: { seconds } });
      });
    } catch (error) {
      return await this.resume(error as WhisperGPTError, wanted);
    } finally {
      this.connection?.close();
    }
  }

  /** Draw differently from the next frame on. */
  change(sampling: Sampling): void {
    Object.assign(this.sampling, sampling);
    if (this.playing) this.connection?.say("session.update", { session: sampling });
  }

  /** The same past, another future. */
  fork(seed: number): void {
    this.forked = seed;
    if (this.playing) this.connection?.say("response.fork", { seed });
  }

  /** End it; `play` resolves once the server has said so, or rejects if it does not. */
  cancel(): void {
    this.cancelled = true;
    this.leaving.abort();
    if (this.playing) {
      this.connection?.say("response.cancel");
      setTimeout(() => this.connection?.close(), 1000 * GOODBYE_SECONDS);
    } else this.connection?.close();
  }

  /** Say how far it was heard, and how often playback stood still since it began. */
  report(playedSamples: number, underruns: number): void {
    const played_frames = Math.min(Math.floor(playedSamples / FRAME_SAMPLES), this.frames);
    if (!this.playing) return;
    this.underruns.said = Math.max(this.underruns.said, underruns);
    this.connection?.say("playback.report", { played_frames, underruns: this.underruns.said - this.underruns.before });
  }

  private async attempt(begin: (connection: Connection) => Promise<void>): Promise<Done> {
    const address = await this.server.streamAddress(this.leaving.signal);
    if (this.cancelled) throw new WhisperGPTError("It was cancelled.", "cancelled");
    this.connection = new Connection(this.dial(address));
    await this.connection.expect("session.created", CONNECT_SECONDS);
    await begin(this.connection);
    return await this.listen(this.connection);
  }

  private async configure(connection: Connection, session: SessionFields): Promise<void> {
    connection.say("session.update", { session });
    await connection.expect("session.updated", ANSWER_SECONDS);
  }

  private async send(connection: Connection, prompt: Prompt): Promise<void> {
    if (!isLive(prompt)) await connection.upload(new Uint8Array(await new Blob([prompt]).arrayBuffer()), ANSWER_SECONDS);
    else
      for await (const samples of prompt) {
        await connection.upload(toPcm(samples), ANSWER_SECONDS);
        if (connection.over) break; // a full server says so at once: nobody has to speak to the end first
      }
    connection.say("input_audio_buffer.commit");
    this.told.sent?.();
    this.told.prompt?.((await connection.expect("input_audio_buffer.committed", ANSWER_SECONDS)).seconds);
  }

  private async listen(connection: Connection): Promise<Done> {
    for (;;) {
      let message;
      try {
        message = await connection.next(this.playing ? SILENT_SECONDS : ANSWER_SECONDS);
      } catch (error) {
        if (!(error instanceof WhisperGPTError) || !this.playing || !WISHES.has(error.code)) throw error;
        this.told.refused?.(error);
        continue;
      }
      if (message instanceof ArrayBuffer) {
        this.frames += message.byteLength / (2 * FRAME_SAMPLES);
        this.told.audio(toFloats(message));
      } else if (message.type === "response.created") {
        const { id, seed } = message.response;
        this.made = { id, seed };
        this.begun(connection, message.response);
      } else if (message.type === "response.checkpoint") this.token = message;
      else if (message.type === "response.forked") {
        this.made = { ...this.made, seed: message.seed };
        this.told.forked?.(message.seed, message.frame);
      } else if (message.type === "response.output_audio.dropped") this.frames += message.frames;
      else if (message.type === "response.done") {
        // The server's reason follows, and rejects.
        if (message.response.status === "failed")
          await connection.next(GOODBYE_SECONDS).catch((error: WhisperGPTError) => {
            if (error.code !== "timeout") throw error;
          });
        this.playing = false;
        return { ...message.response, frames: this.frames }; // the server counts those of this connection
      }
    }
  }

  private begun(connection: Connection, { seed, fingerprint }: { seed: number; fingerprint: string }): void {
    this.playing = true;
    this.underruns.before = this.underruns.said;
    this.told.started?.(seed, fingerprint);
    // What was wished for meanwhile, or on a connection that is gone; saying it twice changes nothing.
    if (Object.keys(this.sampling).length) connection.say("session.update", { session: this.sampling });
    if (this.forked !== null && this.forked !== seed) connection.say("response.fork", { seed: this.forked });
    if (this.cancelled) connection.say("response.cancel");
  }

  private async resume(lost: WhisperGPTError, { seconds, pace }: Wanted): Promise<Done> {
    let until = performance.now() / 1000 + TRY_SECONDS;
    let wait = FIRST_PAUSE;
    for (let error = lost; ; ) {
      // A server that loads its models is there, however long that takes.
      if (error.code === "starting") until = Math.max(until, performance.now() / 1000 + 2 * LONGEST_PAUSE);
      if (this.cancelled) throw error;
      if (seconds !== null && this.frames >= framesIn(seconds)) // all came but the word that it is done
        return { ...this.made, status: "completed", frames: this.frames, time_to_first_audio_ms: null, realtime_factor: null };
      if (!this.token || !error.mayPass || performance.now() / 1000 > until) throw error;
      const before = this.frames;
      this.playing = false;
      this.connection?.close();
      this.told.reconnecting?.(error, until - performance.now() / 1000);
      await pause(wait);
      wait = Math.min(LONGEST_PAUSE, 2 * wait);
      try {
        return await this.attempt(async (connection) => {
          await this.configure(connection, pace ? { pace } : {});
          const { resume_token } = this.token!;
          connection.say("response.create", { response: { resume_token, from_frame: this.frames } });
        });
      } catch (again) {
        error = again as WhisperGPTError;
        if (this.frames > before) [until, wait] = [performance.now() / 1000 + TRY_SECONDS, FIRST_PAUSE];
      }
    }
  }
}

/** Frames of a response, as the server rounds: to a millionth of a frame first, which removes binary rounding errors. */
function framesIn(seconds: number): number {
  return Math.max(1, Math.ceil(Number((seconds * FRAME_RATE).toFixed(6))));
}

function pause(seconds: number): Promise<void> {
  return new Promise((go) => setTimeout(go, 1000 * seconds));
}

const PCM = { format: "pcm_s16le", sample_rate: SAMPLE_RATE } as const;
/** Errors about a wish, after which the response plays on. */
const WISHES = new Set(["bad_value", "out_of_range", "wrong_order"]);

function ownWebSocket(address: string): Wire {
  if (typeof WebSocket === "undefined") {
    const told = "There is no WebSocket here: use Node 22 or newer, or pass a function that opens one, as (address) => new WebSocket(address) of `ws`.";
    throw new WhisperGPTError(told, "no_websocket");
  }
  return new WebSocket(address) as unknown as Wire;
}
