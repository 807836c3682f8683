/** The microphone as a stream of samples at the server's rate. */

import { insecure, unreachable, WhisperGPTError } from "./errors.js";
import { SAMPLE_RATE } from "./events.js";

const REFUSALS: Record<string, string> = {
  NotAllowedError: "The microphone was refused; allow it for this page in the browser's settings, or choose a file.",
  NotFoundError: "There is no microphone; connect one, or choose a file.",
  NotReadableError: "The microphone is in use by another program; close that, or choose a file.",
};

export class Microphone {
  /** Samples in -1…1, as they are recorded. */
  onSamples: (samples: Float32Array) => void = () => {};
  /** It was unplugged, or taken away in the browser's settings. */
  onEnded: () => void = () => {};

  private constructor(
    private readonly context: AudioContext,
    private readonly stream: MediaStream,
    node: AudioWorkletNode,
  ) {
    node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => this.onSamples(data);
    for (const track of stream.getTracks()) track.onended = () => this.onEnded();
  }

  /** Ask for the microphone and listen. Rejects with a sentence that says what stands in the way. */
  static async open(): Promise<Microphone> {
    const refused = insecure();
    if (refused) throw refused;
    if (!navigator.mediaDevices) throw new WhisperGPTError("This browser cannot record; choose a file.", "no_microphone");
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      const { name, message } = error as DOMException;
      throw new WhisperGPTError(REFUSALS[name] ?? `The microphone cannot be used: ${message}`, "no_microphone");
    }
    const context = new AudioContext({ sampleRate: SAMPLE_RATE });
    try {
      return new Microphone(context, stream, await listeningNode(context, stream));
    } catch (error) {
      for (const track of stream.getTracks()) track.stop(); // or it would stay open, and nobody could close it
      void context.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.onSamples = () => {};
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
  }
}

async function listeningNode(context: AudioContext, stream: MediaStream): Promise<AudioWorkletNode> {
  try {
    await context.audioWorklet.addModule(new URL("./microphone_worklet.js", import.meta.url));
  } catch {
    throw unreachable(import.meta.url);
  }
  const node = new AudioWorkletNode(context, "whispergpt-microphone", { numberOfOutputs: 0 });
  try {
    context.createMediaStreamSource(stream).connect(node);
  } catch {
    // Firefox, where the microphone has another rate.
    const told = `This browser cannot record at ${SAMPLE_RATE / 1000} kHz; record elsewhere and choose the file, or try another browser.`;
    throw new WhisperGPTError(told, "old_browser");
  }
  await context.resume();
  return node;
}
