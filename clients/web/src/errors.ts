/** What went wrong, in a sentence for the person in front of the page. */

import type { ErrorBody } from "./events.js";

/** Codes that say nothing against another try, here or on the server that takes this one's place. */
const MAY_PASS = new Set([
  "closed", "unreachable", "timeout", "engine_lost", "cut_off", "draining", "starting", "no_capacity", "key_streams", "key_connections",
  "key_audio", "too_many_connections",
]);

export class WhisperGPTError extends Error {
  /**
   * @param code the server's, or `unreachable`, `closed`, `timeout`
   * @param retryAfter seconds after which another try may help
   */
  constructor(
    message: string,
    readonly code: string,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = "WhisperGPTError";
  }

  get mayPass(): boolean {
    return MAY_PASS.has(this.code);
  }

  static of(body: ErrorBody, retryAfter: number | null = null): WhisperGPTError {
    return new WhisperGPTError(body.message, body.code, retryAfter);
  }
}

/** No answer at all. */
export function unreachable(origin: string): WhisperGPTError {
  return new WhisperGPTError(`The server at ${new URL(origin).host} cannot be reached; is it running?`, "unreachable");
}

/** Why a browser gives a page neither a microphone nor live sound; null where it gives both. */
export function insecure(): WhisperGPTError | null {
  if (typeof isSecureContext === "undefined" || isSecureContext) return null;
  const port = location.port || "80";
  const local = `open http://localhost:${port}`;
  // Browsers take 0.0.0.0 for this machine, and yet for an address of others.
  const remedy = location.hostname === "0.0.0.0" ? local : `use https, or run ssh -L ${port}:localhost:${port} ${location.hostname} and ${local}`;
  const told = `Over http, browsers give live sound and the microphone only to a page on this machine: ${remedy}.`;
  return new WhisperGPTError(told, "insecure");
}

/** The error of an answer that is none of the wanted ones. */
export async function errorOf(answer: Response): Promise<WhisperGPTError> {
  const after = Number(answer.headers.get("Retry-After")) || null;
  try {
    const { error } = (await answer.json()) as { error: ErrorBody };
    return WhisperGPTError.of(error, after);
  } catch {
    const told = `The server at ${new URL(answer.url).host} answered ${answer.status}, which this page does not understand.`;
    return new WhisperGPTError(told, "unreachable", after);
  }
}
