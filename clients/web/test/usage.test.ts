import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, type Wire } from "../src/connection.js";
import { Continuation, type Wanted } from "../src/continuation.js";
import { FRAME_SAMPLES } from "../src/events.js";
import { Making } from "../src/playground/takes/making.js";
import { Take } from "../src/playground/takes/take.js";
import { Server } from "../src/server.js";

/** A WebSocket to nobody, to which a test gives what comes. */
class Given implements Wire {
  static last: Given;
  binaryType = "";
  bufferedAmount = 0;
  onopen = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly sent: string[] = [];
  constructor() {
    Given.last = this;
  }
  send(data: string | ArrayBuffer | Uint8Array): void {
    if (typeof data === "string") this.sent.push((JSON.parse(data) as { type: string }).type);
  }
  close(): void {
    this.onclose?.({ code: 1000, reason: "" });
  }
  event(type: string, fields: object = {}): void {
    this.onmessage?.({ data: JSON.stringify({ type, ...fields }) });
  }
  /** All that comes before the first samples. */
  begin(): void {
    this.event("session.created", { session: {} });
    this.event("session.updated", { session: {} });
    this.event("input_audio_buffer.committed", { seconds: 1 });
    this.event("response.created", { response: { id: "r", seed: 4, fingerprint: "f" } });
    this.event("response.checkpoint", { frame: 0, resume_token: "t" });
  }
  audio(frames: number): void {
    this.onmessage?.({ data: new ArrayBuffer(2 * FRAME_SAMPLES * frames) });
  }
}

/** A server that is not asked for addresses. */
function nobody(): Server {
  const server = new Server("http://127.0.0.1:9");
  server.streamAddress = async () => "ws://127.0.0.1:9/stream";
  return server;
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise((go) => setImmediate(go));
}

async function begun(wanted: Wanted): Promise<{ wire: Given; played: Promise<unknown> }> {
  const played = new Continuation(nobody(), { audio: () => undefined }, () => new Given()).play(new Uint8Array(2), wanted);
  await turns();
  Given.last.begin();
  await turns();
  return { wire: Given.last, played };
}

test("a network that vanished is noticed", async () => {
  const connection = new Connection(new Given());
  await assert.rejects(connection.next(0.05), { code: "timeout", mayPass: true });
  setTimeout(() => Given.last.event("session.created", { session: {} }), 20);
  assert.deepEqual(await connection.next(5), { type: "session.created", session: {} });
});

test("a response of which all came is whole, though the connection is lost before its end is said", async () => {
  const { wire, played } = await begun({ seconds: 2 });
  wire.audio(150);
  wire.onclose?.({ code: 1006, reason: "" });
  const none = { time_to_first_audio_ms: null, realtime_factor: null };
  assert.deepEqual(await played, { id: "r", seed: 4, status: "completed", frames: 150, ...none });
});

test("a take ends where no more of it is kept", async () => {
  const here = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  Object.defineProperty(globalThis, "WebSocket", { value: Given, configurable: true, writable: true });
  try {
    const take = Take.of({ seconds: null, temperature: 1, top_k: 0, top_p: 1, pace: "realtime" }, null);
    const said: string[] = [];
    const told = { sent() {}, started() {}, grew() {}, reconnecting() {}, refused: ({ message }: Error) => said.push(message) };
    const making = new Making(nobody(), take, told);
    const run = making.run(new Uint8Array(2));
    await turns();
    Given.last.begin();
    await turns();
    for (let minute = 0; minute < 9; minute++) Given.last.audio(60 * 75);
    Given.last.audio(60 * 75 - 2);
    Given.last.audio(6); // of which two are kept
    await turns();
    assert.match(said.join(), /^A take has ten minutes at most: it ends here, and can be forked\.$/);
    assert.equal(take.track.seconds, 600);
    assert.equal(take.seconds, 600);
    assert.ok(take.track.complete && Given.last.sent.includes("response.cancel"));
    Given.last.event("response.done", { response: { id: "r", status: "cancelled", seed: 4, frames: 1 } });
    await run;
  } finally {
    if (here) Object.defineProperty(globalThis, "WebSocket", here);
  }
});

test("an address without a scheme is told at once", () => {
  assert.throws(() => new Server("127.0.0.1:8000"), /must look like http:\/\/host:port, not 127\.0\.0\.1:8000\./);
});

test("without a WebSocket it says what to use", async () => {
  const here = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  Reflect.deleteProperty(globalThis, "WebSocket");
  try {
    const playing = new Continuation(nobody(), { audio: () => undefined }).play(new Uint8Array(2), { seconds: 1 });
    await assert.rejects(playing, /There is no WebSocket here: use Node 22 or newer/);
  } finally {
    if (here) Object.defineProperty(globalThis, "WebSocket", here);
  }
});
