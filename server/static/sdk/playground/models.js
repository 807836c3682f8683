/** Descriptions of the models for listeners. */
const ABILITIES = {
    speech: "A voice goes on in its tone and rhythm, in syllables, not words.",
    piano: "The same piano goes on in chords and lines, not yet in a piece of music.",
};
const KINDS = { speech: "voice", piano: "piano" };
/** Returns what a model is for, such as `voice`; undefined if that is not known. */
export function kindOf(model) {
    return KINDS[model];
}
/** Returns a sentence on what a model does with a prompt. */
export function abilityOf({ id, parameters }) {
    return ABILITIES[id] ?? `A model of ${(parameters / 1e6).toFixed(1)} million parameters, which continues what it was trained on.`;
}
