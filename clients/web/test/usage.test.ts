import assert from "node:assert/strict";
import { test } from "node:test";
import { Continuation } from "../src/continuation.js";
import { Server } from "../src/server.js";

test("an address without a scheme is told at once", () => {
  assert.throws(() => new Server("127.0.0.1:8000"), /must look like http:\/\/host:port, not 127\.0\.0\.1:8000\./);
});

test("without a WebSocket it says what to use", async () => {
  const here = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  Reflect.deleteProperty(globalThis, "WebSocket");
  try {
    const server = new Server("http://127.0.0.1:9");
    server.streamAddress = async () => "ws://127.0.0.1:9/stream";
    const playing = new Continuation(server, { audio: () => undefined }).play(new Uint8Array(2), { seconds: 1 });
    await assert.rejects(playing, /There is no WebSocket here: use Node 22 or newer/);
  } finally {
    if (here) Object.defineProperty(globalThis, "WebSocket", here);
  }
});
