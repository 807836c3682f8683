/** The microphone as a stream of samples at the server's rate. */

import { WhisperGPTError } from "./errors.js";
import { SAMPLE_RATE } from "./events.js";

const REFUSALS: Record<string, string> = {
  NotAllowedError: "The microphone was refused; allow it for this page in the browser's settings, or choose a file.",
  NotFoundError: "There is no microphone; connect one, or choose a file.",
  NotReadableError: "The microphone is in use by another program; close that, or choose a file.",
};

export class Microphone {
  /** Samples in -1…1, as they are recorded. */
  onSamples: (samples: Float32Array) => void = () => {};

  private constructor(
    private readonly context: AudioContext,
    private readonly stream: MediaStream,
    node: AudioWorkletNode,
  ) {
    node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => this.onSamples(data);
  }

  /** Ask for the microphone and listen. Rejects with a sentence that says what stands in the way. */
  static async open(): Promise<Microphone> {
    if (!navigator.mediaDevices)
      throw new WhisperGPTError("Browsers give the microphone only to pages over https or on this machine.", "no_microphone");
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      const { name, message } = error as DOMException;
      throw new WhisperGPTError(REFUSALS[name] ?? `The microphone cannot be used: ${message}`, "no_microphone");
    }
    const context = new AudioContext({ sampleRate: SAMPLE_RATE });
    await context.audioWorklet.addModule(new URL("./microphone_worklet.js", import.meta.url));
    const node = new AudioWorkletNode(context, "whispergpt-microphone", { numberOfOutputs: 0 });
    context.createMediaStreamSource(stream).connect(node);
    await context.resume();
    return new Microphone(context, stream, node);
  }

  async close(): Promise<void> {
    this.onSamples = () => {};
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
  }
}
