/** How to make a take again, as the part of the page's address that is not sent to the server. */
import { FRAME_RATE } from "../../events.js";
import { Takes } from "./takes.js";
const FIELDS = ["frame", "seed", "seconds", "temperature", "top_k", "top_p"];
const KINDS = ["bundled", "file", "recording"];
const MOST_STEPS = 20;
/** The recipe of a take; null before its seed is known. */
export function recipeOf(take) {
    const line = Takes.lineOf(take);
    const { prompt, wanted } = line[0];
    if (!prompt || line.some(({ seed }) => seed === null))
        return null;
    const steps = line.map((one) => {
        const { temperature = 1, top_k = 0, top_p = 1 } = one.wanted;
        return { frame: one.forkedAt, seed: one.seed, seconds: one.asked, temperature, top_k, top_p };
    });
    const moved = line.some(({ changed }) => changed);
    return { model: wanted.model ?? "", kind: prompt.kind, prompt: prompt.name, cut: prompt.cut, steps, moved };
}
/** What a recipe makes, in words.
 * @param title the prompt's, as the page shows it */
export function toldOf({ steps, moved }, title) {
    const forks = steps.length - 1;
    const more = forks > 0 ? `, and ${forks === 1 ? "a fork" : `${forks} forks`} of it` : "";
    const seconds = steps.reduce((sum, { frame }) => sum + frame / FRAME_RATE, steps.at(-1).seconds);
    const note = moved ? " Its sliders were moved while it played, which a link leaves out." : "";
    return `Take by link: ${title}, ${seconds.toFixed(1)} s${more}.${note}`;
}
/** What is wanted of a step. */
export function wantedOf({ model }, { frame: _, ...step }) {
    return { ...step, model };
}
export function fragmentOf({ model, kind, prompt, cut, steps, moved }) {
    const fields = new URLSearchParams({ model, [kind]: prompt });
    if (cut)
        fields.set("cut", `${cut.from},${cut.to}`);
    if (moved)
        fields.set("moved", "1");
    for (const step of steps)
        fields.append("step", FIELDS.map((name) => step[name]).join(","));
    return `#${fields.toString()}`;
}
/** The recipe of an address, null if it has none or one that makes no sense. */
export function readFragment(fragment) {
    const fields = new URLSearchParams(fragment.replace(/^#/, ""));
    const kind = KINDS.find((one) => fields.has(one));
    const model = fields.get("model");
    const steps = fields.getAll("step").map(stepOf);
    if (!kind || !model || steps.length === 0 || steps.length > MOST_STEPS || steps.includes(null))
        return null;
    const cut = fields.has("cut") ? numbersOf(fields.get("cut"), 2) : null;
    if (fields.has("cut") && (!cut || cut[0] < 0 || cut[1] <= cut[0]))
        return null;
    return { model, kind, prompt: fields.get(kind), cut: cut && { from: cut[0], to: cut[1] }, steps: steps, moved: fields.has("moved") };
}
function stepOf(text) {
    const numbers = numbersOf(text, FIELDS.length);
    if (!numbers)
        return null;
    const step = Object.fromEntries(FIELDS.map((name, i) => [name, numbers[i]]));
    const whole = Number.isSafeInteger(step.frame) && Number.isSafeInteger(step.seed) && Number.isSafeInteger(step.top_k);
    return whole && numbers.every((number) => number >= 0) && step.seconds > 0 ? step : null;
}
function numbersOf(text, count) {
    const numbers = text.split(",").map((one) => (one.trim() === "" ? NaN : Number(one)));
    return numbers.length === count && numbers.every(Number.isFinite) ? numbers : null;
}
