/** What the embedded models can do, said plainly. */

import type { Model } from "../server.js";

const ABILITIES: Record<string, string> = {
  speech: "speech: a voice goes on in its tone and rhythm, in syllables, not words.",
  piano: "piano: the same piano goes on in chords and lines, not yet in a piece of music.",
};

/** A sentence on what a model does with a prompt. */
export function abilityOf({ id, parameters }: Model): string {
  return ABILITIES[id] ?? `${id}: a model of ${(parameters / 1e6).toFixed(1)} million parameters, which continues what it was trained on.`;
}
