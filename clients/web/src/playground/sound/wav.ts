/** A wav file of samples: 16-bit mono. */

import { SAMPLE_RATE } from "../../events.js";
import { toPcm } from "../../samples.js";

/** @param tags a chunk for the file's end */
export function wavOf(parts: Float32Array[], tags = new Uint8Array(0)): Blob {
  const bytes = parts.reduce((sum, part) => sum + 2 * part.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at: number, word: string): void => [...word].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + bytes + tags.length, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, SAMPLE_RATE, true);
  head.setUint32(28, 2 * SAMPLE_RATE, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  text(36, "data");
  head.setUint32(40, bytes, true);
  return new Blob([head.buffer, ...parts.map((part) => toPcm(part).buffer as ArrayBuffer), tags], { type: "audio/wav" });
}

/** Let the browser save it. */
export function save(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
