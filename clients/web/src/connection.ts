/** One WebSocket on `/stream`: events out and in, audio in, and an end that says why. */

import { WhisperGPTError } from "./errors.js";
import type { ServerEvent } from "./events.js";

/** A message of the server: an event, or samples. */
export type Message = ServerEvent | ArrayBuffer;

/** As much of a WebSocket as is used, so that tests can bring their own. */
export interface Wire {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(data: string | ArrayBuffer | Uint8Array): void;
  close(code?: number): void;
}

const CLEAN = 1000;
const UPLOAD_BYTES = 65_536;
const MOST_BUFFERED = 1_048_576;

export class Connection {
  private readonly waiting: Message[] = [];
  private wake: (() => void) | null = null;
  private ended: WhisperGPTError | null = null;

  constructor(private readonly wire: Wire) {
    wire.binaryType = "arraybuffer";
    wire.onmessage = ({ data }) => {
      this.waiting.push(data instanceof ArrayBuffer ? data : (JSON.parse(data as string) as ServerEvent));
      this.wake?.();
    };
    wire.onclose = ({ code, reason }) => {
      const told = reason || (code === CLEAN ? "The server ended the connection." : "The connection to the server was lost.");
      this.ended ??= new WhisperGPTError(told, "closed");
      this.wake?.();
    };
  }

  /** Whether nothing more can be said; reading says why. */
  get over(): boolean {
    return this.ended !== null;
  }

  /**
   * The next message. Rejects with the server's error, with what ended the connection, or with `timeout`.
   *
   * A network that vanishes, as a laptop's between two places, ends no connection.
   *
   * @param within seconds in which it must come
   */
  async next(within: number): Promise<Message> {
    const until = performance.now() + 1000 * within;
    for (;;) {
      const message = this.waiting.shift();
      if (message !== undefined) {
        if (!(message instanceof ArrayBuffer) && message.type === "error")
          throw WhisperGPTError.of(message.error, message.retry_after ?? null);
        return message;
      }
      if (this.ended) throw this.ended;
      const left = until - performance.now();
      if (left <= 0) throw new WhisperGPTError(`Nothing came from the server for ${within} seconds.`, "timeout");
      let timer;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
      this.wake = null;
    }
  }

  /** The next message, which must be this event; audio and other events before it are passed by. */
  async expect<T extends ServerEvent["type"]>(type: T, within: number): Promise<Extract<ServerEvent, { type: T }>> {
    for (;;) {
      const message = await this.next(within);
      if (!(message instanceof ArrayBuffer) && message.type === type)
        return message as Extract<ServerEvent, { type: T }>;
    }
  }

  /** Say something. Nothing happens once the connection has ended: reading says so. */
  say(type: string, fields: object = {}): void {
    if (!this.ended) this.wire.send(JSON.stringify({ type, ...fields }));
  }

  /**
   * Send audio, in parts, no faster than it leaves. Rejects with `timeout` where none leaves.
   *
   * @param within seconds in which each part must have room
   */
  async upload(audio: Uint8Array, within: number): Promise<void> {
    for (let at = 0; at < audio.length && !this.ended; at += UPLOAD_BYTES) {
      const until = performance.now() + 1000 * within;
      while (this.wire.bufferedAmount > MOST_BUFFERED && !this.ended) {
        if (performance.now() > until) throw new WhisperGPTError(`The server took nothing for ${within} seconds.`, "timeout");
        await new Promise((go) => setTimeout(go, 10));
      }
      this.wire.send(audio.slice(at, at + UPLOAD_BYTES));
    }
  }

  close(): void {
    this.ended ??= new WhisperGPTError("The connection was closed.", "closed");
    this.wire.close(CLEAN);
    this.wake?.();
  }
}
