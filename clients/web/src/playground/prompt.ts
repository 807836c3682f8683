/** What is to go on: a file, one of the server's recordings or what was said into the microphone. */

import { SAMPLE_RATE } from "../events.js";
import type { Recording } from "./recording.js";
import { wavOf } from "./wav.js";

const SHORTEST_SECONDS = 0.5;
const LONGEST_SECONDS = 60;
/** Decoders differ by some samples at both ends. */
const MARGIN_SECONDS = 0.05;
const LONGEST_NAME = 32;
const MOST_BYTES = 64 * 1024 * 1024;

export class ChosenPrompt {
  private constructor(
    readonly kind: "file" | "bundled" | "recording",
    readonly blob: Blob,
    readonly name: string,
    /** Mono, at the server's rate; null where this browser cannot decode it. */
    readonly samples: Float32Array | null,
  ) {}

  static async read(kind: "file" | "bundled", blob: Blob, name: string): Promise<ChosenPrompt> {
    const readable = blob.size > 0 && blob.size <= MOST_BYTES;
    return new ChosenPrompt(kind, blob, name, readable ? await decoded(blob) : null);
  }

  static recorded(recording: Recording): ChosenPrompt {
    const samples = recording.all();
    return new ChosenPrompt("recording", wavOf([samples]), "recording.wav", samples);
  }

  get seconds(): number | null {
    return this.samples && this.samples.length / SAMPLE_RATE;
  }

  /** The name as far as there is room for it; the end of a file's name says most. */
  get shortName(): string {
    return shortened(this.name);
  }

  /** Why a server would refuse it, if that can be seen from here. */
  get refusal(): string | null {
    const { seconds } = this;
    if (this.blob.size === 0) return `${this.shortName} is empty.`;
    if (this.blob.size > MOST_BYTES) return `${this.shortName} has more than ${MOST_BYTES / 1024 ** 2} MiB; choose a shorter one.`;
    if (seconds === null) {
      if (this.blob.type === "" || /^(audio|video)\//.test(this.blob.type)) return null;
      return `${this.shortName} does not look like sound (it is ${this.blob.type}); choose a wav, flac, mp3, ogg or m4a file.`;
    }
    if (seconds >= SHORTEST_SECONDS - MARGIN_SECONDS && seconds <= LONGEST_SECONDS + MARGIN_SECONDS) return null;
    return `${this.shortName} is ${seconds.toFixed(1)} s long; it takes ${SHORTEST_SECONDS} to ${LONGEST_SECONDS} s of sound.`;
  }
}

export function shortened(name: string): string {
  if (name.length <= LONGEST_NAME) return name;
  const half = LONGEST_NAME / 2 - 1;
  return `${name.slice(0, half)}…${name.slice(-half)}`;
}

async function decoded(blob: Blob): Promise<Float32Array | null> {
  try {
    const buffer = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(await blob.arrayBuffer());
    return mixed(buffer);
  } catch {
    return null;
  }
}

/** All channels as one. */
function mixed(buffer: AudioBuffer): Float32Array {
  const sum = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++)
    buffer.getChannelData(channel).forEach((sample, i) => (sum[i]! += sample / buffer.numberOfChannels));
  return sum;
}
