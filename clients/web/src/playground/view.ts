/** What the picture shows. */

import { SAMPLE_RATE } from "../events.js";
import type { View } from "./picture/picture.js";
import type { ChosenPrompt } from "./sound/prompt.js";
import type { Track } from "./sound/track.js";
import type { Take } from "./takes/take.js";

const LEAST_RECORDING_SECONDS = 5;
/** So much of a take that is made is seen at first; then twice as much, and so on up to all that there will be. */
const FIRST_SECONDS = 15;

/** The view of a take, else of what is being recorded, else of the prompt. */
export function viewOf(take: Take | null, recorded: Track | null, prompt: ChosenPrompt | null): View | null {
  if (take) {
    const making = take.state === "making";
    const whole = take.join / SAMPLE_RATE + (take.wanted.seconds ?? 0);
    const doublings = Math.max(0, Math.ceil(Math.log2(take.track.seconds / FIRST_SECONDS)));
    const seconds = making ? Math.min(whole, FIRST_SECONDS * 2 ** doublings) : 0;
    return { track: take.track, stretches: take.stretches, seconds, making, cut: null, marks: take.moves.map(({ at }) => at) };
  }
  const stretches: View["stretches"] = [{ from: 0, kind: "prompt", label: recorded ? "recording" : "prompt" }];
  if (recorded) return { track: recorded, stretches, seconds: LEAST_RECORDING_SECONDS, making: false, cut: null, marks: [] };
  return prompt?.track ? { track: prompt.track, stretches, seconds: 0, making: false, cut: prompt.cut, marks: [] } : null;
}
