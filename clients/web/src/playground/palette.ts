/** Below 1 what is quiet is seen better. */
const GAMMA = 0.85;

/** 256 colours from nothing to one of the style's, as the bytes of an image lie in memory. */
export function palette(style: CSSStyleDeclaration, name: string, strength = 1): Uint32Array {
  const probe = document.createElement("canvas").getContext("2d")!;
  probe.fillStyle = style.getPropertyValue(name);
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let level = 0; level < 256; level++) bytes.set([red!, green!, blue!, strength * 255 * (level / 255) ** GAMMA], 4 * level);
  return new Uint32Array(bytes.buffer);
}
