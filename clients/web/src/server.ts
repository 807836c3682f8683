/** A server: its models, and the addresses and tokens by which a page reaches it. */

import { WhisperGPTError, errorOf, unreachable } from "./errors.js";

/** So long an answer may take. */
const ANSWER_MS = 20_000;

export interface Model {
  id: string;
  parameters: number;
  defaults: { temperature: number; top_k: number; top_p: number };
  licence: string;
}

/** Where on a server that recording is. */
export function promptPath(name: string): string {
  return `/static/prompts/${name}.flac`;
}

export class Server {
  /**
   * @param origin such as `https://host:8000`, or `https://host/path` behind a proxy
   * @param key an API key, where the server asks for one
   */
  constructor(
    readonly origin: string,
    readonly key: string | null = null,
  ) {
    if (!/^https?:\/\/[^/]/.test(origin))
      throw new WhisperGPTError(`The server's address must look like http://host:port, not ${origin}.`, "bad_address");
  }

  /** What it can play. Rejects with `no_key` or `wrong_key` where it wants another key. */
  async models(): Promise<Model[]> {
    return (await this.ask("GET", "/v1/models", (answer) => answer.json() as Promise<{ data: Model[] }>)).data;
  }

  /** The address of a WebSocket, good for one connection, soon. */
  async streamAddress(signal: AbortSignal | null = null): Promise<string> {
    const read = (answer: Response) => answer.json() as Promise<{ token: string }>;
    const { token } = await this.ask("POST", "/v1/tokens", read, signal);
    return `${this.origin.replace(/^http/, "ws")}/stream?token=${encodeURIComponent(token)}`;
  }

  /** A recording that the server brings, to try it with: `speech` or `piano`. */
  async bundledPrompt(name: string): Promise<Blob> {
    return await this.ask("GET", promptPath(name), (answer) => answer.blob());
  }

  /** What `read` makes of an answer, within a bounded time. */
  private async ask<T>(
    method: string,
    path: string,
    read: (answer: Response) => Promise<T>,
    signal: AbortSignal | null = null,
  ): Promise<T> {
    const headers: Record<string, string> = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    const leaving = new AbortController();
    const leave = () => leaving.abort();
    signal?.addEventListener("abort", leave);
    if (signal?.aborted) leave();
    const late = setTimeout(leave, ANSWER_MS);
    try {
      const answer = await fetch(this.origin + path, { method, headers, signal: leaving.signal });
      if (!answer.ok) throw await errorOf(answer);
      return await read(answer);
    } catch (error) {
      throw error instanceof WhisperGPTError ? error : unreachable(this.origin);
    } finally {
      clearTimeout(late);
      signal?.removeEventListener("abort", leave);
    }
  }
}
