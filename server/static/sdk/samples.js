/** Between the samples of the wire, 16-bit little-endian, and those of Web Audio, floats in -1…1. */
export function toFloats(pcm) {
    const view = new DataView(pcm);
    return Float32Array.from({ length: pcm.byteLength >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32_768);
}
export function toPcm(samples) {
    const view = new DataView(new ArrayBuffer(2 * samples.length));
    samples.forEach((sample, i) => {
        view.setInt16(2 * i, Math.max(-32_768, Math.min(32_767, Math.round(sample * 32_768))), true);
    });
    return new Uint8Array(view.buffer);
}
