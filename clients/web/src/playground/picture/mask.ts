/** A track's spectrogram without colour: a column of pixels for each frame, as opaque as the band is loud. */

import { FRAME_SAMPLES } from "../../events.js";
import type { Track } from "../sound/track.js";
import { BANDS, Spectrum } from "./spectrum.js";

const TILE_COLUMNS = 2048;
const PART_FRAMES = 32;
/** Below 1 what is quiet is seen better. */
const GAMMA = 0.9;
/** From this level on a band counts as sounding. */
const AUDIBLE = 60;
const OPACITIES = Uint32Array.from({ length: 256 }, (_, level) => (255 * (level / 255) ** GAMMA) << 24);

export class Mask {
  /** Columns that are painted. */
  columns = 0;
  /** Bands from the lowest to the highest that sounds. */
  bands = 0;
  private readonly spectrum = new Spectrum();
  private readonly tiles: CanvasRenderingContext2D[] = [];

  constructor(private readonly track: Track) {}

  /** Paint what came, for about so many milliseconds at most; returns whether something was painted. */
  grow(milliseconds: number): boolean {
    const until = performance.now() + milliseconds;
    const before = this.columns;
    while (this.columns < Math.floor(this.track.samples / FRAME_SAMPLES) && performance.now() < until) {
      const from = this.columns * FRAME_SAMPLES;
      const frames = Math.min(PART_FRAMES, Math.floor((this.track.samples - from) / FRAME_SAMPLES));
      for (const column of this.spectrum.push(this.track.read(from, from + frames * FRAME_SAMPLES))) this.paint(column);
    }
    return this.columns > before;
  }

  /** Draw columns from one to another, and bands up to one, into this rectangle. */
  draw(brush: CanvasRenderingContext2D, from: number, to: number, bands: number, x: number, y: number, width: number, height: number): void {
    const scale = width / (to - from);
    for (let tile = Math.floor(from / TILE_COLUMNS); tile < this.tiles.length; tile++) {
      const first = Math.max(from, tile * TILE_COLUMNS);
      const last = Math.min(to, this.columns, (tile + 1) * TILE_COLUMNS);
      if (last <= first) continue;
      const left = first - tile * TILE_COLUMNS;
      const place = [x + (first - from) * scale, y, (last - first) * scale, height] as const;
      brush.drawImage(this.tiles[tile]!.canvas, left, BANDS - bands, last - first, bands, ...place);
    }
  }

  private paint(column: Uint8Array): void {
    const [tile, x] = [Math.floor(this.columns / TILE_COLUMNS), this.columns % TILE_COLUMNS];
    if (!this.tiles[tile]) {
      const canvas = Object.assign(document.createElement("canvas"), { width: TILE_COLUMNS, height: BANDS });
      this.tiles[tile] = canvas.getContext("2d", { willReadFrequently: true })!;
    }
    const image = new ImageData(1, BANDS);
    const pixels = new Uint32Array(image.data.buffer);
    column.forEach((level, band) => (pixels[BANDS - 1 - band] = OPACITIES[level]!));
    this.tiles[tile].putImageData(image, x, 0);
    for (let band = BANDS; band > this.bands; band--) if (column[band - 1]! >= AUDIBLE) this.bands = band;
    this.columns += 1;
  }
}
