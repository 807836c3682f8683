/** What the embedded models can do, said plainly. */

import type { Model } from "../server.js";

const ABILITIES: Record<string, string> = {
  speech: "speech goes on in a similar voice and rhythm, in syllables, not words.",
  piano: "piano goes on with chords and lines in the sound of that piano, not yet a piece.",
};

/** A sentence on what a model does with a prompt. */
export function abilityOf({ id, parameters }: Model): string {
  return ABILITIES[id] ?? `${id} is a model of ${(parameters / 1e6).toFixed(1)} million parameters; it continues what it was trained on.`;
}
