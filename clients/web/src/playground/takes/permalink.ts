/** How to make a take again, as the part of the page's address that is not sent to the server. */

import type { Wanted } from "../../continuation.js";
import { FRAME_RATE } from "../../events.js";
import type { Cut } from "../sound/cut.js";
import type { PromptKind } from "../sound/prompt.js";
import type { Take } from "./take.js";
import { Takes } from "./takes.js";

export interface Step {
  /** Frame of the step before at which this one begins; 0 for the first one. */
  frame: number;
  seed: number;
  seconds: number;
  temperature: number;
  top_k: number;
  top_p: number;
}

export interface Recipe {
  model: string;
  kind: PromptKind;
  prompt: string;
  cut: Cut | null;
  /** The take, and the forks that lead to the one that is meant. */
  steps: Step[];
  /** Whether sliders were moved while they played, which making them again leaves out. */
  moved: boolean;
}

const FIELDS = ["frame", "seed", "seconds", "temperature", "top_k", "top_p"] as const;
const KINDS = ["bundled", "file", "recording"] as const;
const MOST_STEPS = 20;

/** The recipe of a take; null before its seed is known. */
export function recipeOf(take: Take): Recipe | null {
  const line = Takes.lineOf(take);
  const { prompt, wanted } = line[0]!;
  if (!prompt || line.some(({ seed }) => seed === null)) return null;
  const steps = line.map((one): Step => {
    const { temperature = 1, top_k = 0, top_p = 1 } = one.wanted;
    return { frame: one.forkedAt, seed: one.seed!, seconds: one.asked, temperature, top_k, top_p };
  });
  const moved = line.some(({ changed }) => changed);
  return { model: wanted.model ?? "", kind: prompt.kind, prompt: prompt.name, cut: prompt.cut, steps, moved };
}

/** What a recipe makes, in words.
 * @param title the prompt's, as the page shows it */
export function toldOf({ steps, moved }: Recipe, title: string): string {
  const forks = steps.length - 1;
  const more = forks > 0 ? `, and ${forks === 1 ? "a fork" : `${forks} forks`} of it` : "";
  const seconds = steps.reduce((sum, { frame }) => sum + frame / FRAME_RATE, steps.at(-1)!.seconds);
  const note = moved ? " Its sliders were moved while it played, which a link leaves out." : "";
  return `Take by link: ${title}, ${seconds.toFixed(1)} s${more}.${note}`;
}

/** What is wanted of a step. */
export function wantedOf({ model }: Recipe, { frame: _, ...step }: Step): Wanted {
  return { ...step, model };
}

export function fragmentOf({ model, kind, prompt, cut, steps, moved }: Recipe): string {
  const fields = new URLSearchParams({ model, [kind]: prompt });
  if (cut) fields.set("cut", `${cut.from},${cut.to}`);
  if (moved) fields.set("moved", "1");
  for (const step of steps) fields.append("step", FIELDS.map((name) => step[name]).join(","));
  return `#${fields.toString()}`;
}

/** The recipe of an address, null if it has none or one that makes no sense. */
export function readFragment(fragment: string): Recipe | null {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const kind = KINDS.find((one) => fields.has(one));
  const model = fields.get("model");
  const steps = fields.getAll("step").map(stepOf);
  if (!kind || !model || steps.length === 0 || steps.length > MOST_STEPS || steps.includes(null)) return null;
  const cut = fields.has("cut") ? numbersOf(fields.get("cut")!, 2) : null;
  if (fields.has("cut") && (!cut || cut[0]! < 0 || cut[1]! <= cut[0]!)) return null;
  return { model, kind, prompt: fields.get(kind)!, cut: cut && { from: cut[0]!, to: cut[1]! }, steps: steps as Step[], moved: fields.has("moved") };
}

function stepOf(text: string): Step | null {
  const numbers = numbersOf(text, FIELDS.length);
  if (!numbers) return null;
  const step = Object.fromEntries(FIELDS.map((name, i) => [name, numbers[i]!])) as unknown as Step;
  const whole = Number.isSafeInteger(step.frame) && Number.isSafeInteger(step.seed) && Number.isSafeInteger(step.top_k);
  return whole && numbers.every((number) => number >= 0) && step.seconds > 0 ? step : null;
}

function numbersOf(text: string, count: number): number[] | null {
  const numbers = text.split(",").map((one) => (one.trim() === "" ? NaN : Number(one)));
  return numbers.length === count && numbers.every(Number.isFinite) ? numbers : null;
}
