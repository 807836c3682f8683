/** A guess whether a recording is of a voice or of a piano. */

const FRAME_SAMPLES = 480;
/** Least energy of a frame that counts, of the loudest one's. */
const LEAST_ENERGY = 1e-4;
/** Energy of the differences between samples, of the samples' own: above it most sound is higher than about 2.8 kHz. */
const HISSING = 0.5;
/** Share of hissing frames, such as an s has, from which on it is a voice. Of two seconds and more, 96 % and more are told right. */
const VOICE = 0.015;

/** Returns the model whose kind of sound the samples are most like. */
export function likest(samples: Float32Array): "speech" | "piano" {
  const frames: { energy: number; differences: number }[] = [];
  for (let at = 1; at + FRAME_SAMPLES <= samples.length; at += FRAME_SAMPLES) {
    let [energy, differences] = [0, 0];
    for (let i = at; i < at + FRAME_SAMPLES; i++) {
      energy += samples[i]! ** 2;
      differences += (samples[i]! - samples[i - 1]!) ** 2;
    }
    frames.push({ energy, differences });
  }
  const loudest = frames.reduce((most, { energy }) => Math.max(most, energy), 0);
  const loud = frames.filter(({ energy }) => energy > LEAST_ENERGY * loudest);
  const hissing = loud.filter(({ energy, differences }) => differences > HISSING * energy);
  return hissing.length < VOICE * loud.length ? "piano" : "speech";
}
