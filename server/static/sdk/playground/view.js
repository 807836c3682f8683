/** What the picture shows. */
import { SAMPLE_RATE } from "../events.js";
const LEAST_RECORDING_SECONDS = 5;
/** The view of a take, else of what is being recorded, else of the prompt. */
export function viewOf(take, recorded, prompt) {
    if (take) {
        const making = take.state === "making";
        const seconds = making ? take.join / SAMPLE_RATE + (take.wanted.seconds ?? 0) : 0;
        return { track: take.track, stretches: take.stretches, seconds, making, cut: null, marks: take.moves.map(({ at }) => at) };
    }
    const stretches = [{ from: 0, kind: "prompt", label: recorded ? "recording" : "prompt" }];
    if (recorded)
        return { track: recorded, stretches, seconds: LEAST_RECORDING_SECONDS, making: false, cut: null, marks: [] };
    return prompt?.track ? { track: prompt.track, stretches, seconds: 0, making: false, cut: prompt.cut, marks: [] } : null;
}
