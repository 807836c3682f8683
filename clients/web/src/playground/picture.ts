/** One scrolling picture of prompt and continuation, the join marked and what is heard now. */

import { FRAME_RATE } from "../events.js";
import { BANDS, Spectrum } from "./spectrum.js";

const KEPT_SECONDS = 120;

export class Picture {
  private spectrum = new Spectrum();
  private columns: Uint8Array[] = [];
  private dropped = 0;
  private join: number | null = null;
  private heard = 0;
  private stale = true;

  constructor(private readonly canvas: HTMLCanvasElement) {
    const draw = (): void => {
      if (this.stale) this.draw();
      requestAnimationFrame(draw);
    };
    new ResizeObserver(() => (this.stale = true)).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.stale = true));
    requestAnimationFrame(draw);
  }

  /** Whether there is a continuation in it. */
  get joined(): boolean {
    return this.join !== null;
  }

  clear(): void {
    [this.spectrum, this.columns, this.dropped, this.join, this.heard] = [new Spectrum(), [], 0, null, 0];
    this.stale = true;
  }

  push(samples: Float32Array): void {
    this.columns.push(...this.spectrum.push(samples));
    const over = this.columns.length - KEPT_SECONDS * FRAME_RATE;
    if (over > 0) {
      this.columns.splice(0, over);
      this.dropped += over;
    }
    this.stale = true;
  }

  /** What comes from now on is the continuation. */
  markJoin(): void {
    this.join = this.dropped + this.columns.length;
    this.stale = true;
  }

  /** So many frames of the continuation were heard. */
  markHeard(frames: number): void {
    this.stale ||= frames !== this.heard;
    this.heard = frames;
  }

  private draw(): void {
    this.stale = false;
    const { canvas } = this;
    const width = Math.max(1, Math.round(canvas.clientWidth));
    if (canvas.width !== width || canvas.height !== BANDS) [canvas.width, canvas.height] = [width, BANDS];
    const brush = canvas.getContext("2d")!;
    const style = getComputedStyle(canvas);
    const join = this.join ?? Infinity;
    const palettes = [palette(style, "--prompt-sound"), palette(style, "--sound")];
    const image = brush.createImageData(width, BANDS);
    const pixels = new Uint32Array(image.data.buffer);
    const first = Math.max(0, this.columns.length - width);
    for (let x = 0; x < Math.min(width, this.columns.length); x++) {
      const column = this.columns[first + x]!;
      const colours = palettes[this.dropped + first + x < join ? 0 : 1]!;
      for (let band = 0; band < BANDS; band++) pixels[(BANDS - 1 - band) * width + x] = colours[column[band]!]!;
    }
    brush.putImageData(image, 0, 0);
    const line = (frame: number, colour: string): void => {
      const x = frame - this.dropped - first;
      if (x < 0 || x >= width) return;
      brush.fillStyle = style.getPropertyValue(colour);
      brush.fillRect(x, 0, 2, BANDS);
    };
    if (this.join !== null) {
      line(this.join, "--join");
      if (this.heard) line(this.join + this.heard, "--now");
    }
  }
}

/** 256 colours from nothing to the style's, as the bytes of an image lie in memory. */
function palette(style: CSSStyleDeclaration, name: string): Uint32Array {
  const probe = document.createElement("canvas").getContext("2d")!;
  probe.fillStyle = style.getPropertyValue(name);
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let level = 0; level < 256; level++) bytes.set([red!, green!, blue!, 255 * (level / 255) ** 1.4], 4 * level);
  return new Uint32Array(bytes.buffer);
}
