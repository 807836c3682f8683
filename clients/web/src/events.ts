/** What is said on `/stream`, as far as this client uses it; the server's page /docs has all of it. */

export const FRAME_SAMPLES = 320;
export const FRAME_RATE = 75;
export const SAMPLE_RATE = 24_000;

export interface ErrorBody {
  type: string;
  code: string;
  message: string;
  param: string | null;
}

/** How the next frames are drawn; what is left out stays as it is. */
export interface Sampling {
  temperature?: number;
  top_k?: number;
  top_p?: number;
}

export interface SessionFields extends Sampling {
  model?: string;
  seed?: number;
  pace?: "realtime" | "fast";
  input?: { format: "file" } | { format: "pcm_s16le"; sample_rate: number };
}

/** How a response ended. */
export interface Done {
  id: string;
  status: "completed" | "cancelled" | "failed";
  frames: number;
  seed: number;
  time_to_first_audio_ms: number | null;
  realtime_factor: number | null;
}

export type ServerEvent =
  | { type: "session.created" | "session.updated"; session: { id: string; model: string } }
  | { type: "input_audio_buffer.committed"; seconds: number }
  | { type: "response.created"; response: { id: string; seed: number; from_frame: number; fingerprint: string } }
  | { type: "response.checkpoint"; frame: number; resume_token: string }
  | { type: "response.output_audio.dropped"; frame: number; frames: number }
  | { type: "response.output_audio.done" }
  | { type: "response.forked"; seed: number; frame: number }
  | { type: "response.paused" | "response.resumed"; frames: number }
  | { type: "response.done"; response: Done }
  | { type: "error"; error: ErrorBody; retry_after?: number };
