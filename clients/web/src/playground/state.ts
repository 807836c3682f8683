/** What the page is at: what is chosen, shown, made and recorded. */

import type { Phase } from "./page.js";
import type { ChosenPrompt } from "./sound/prompt.js";
import type { Recording } from "./sound/recording.js";
import type { Track } from "./sound/track.js";
import type { Making } from "./takes/making.js";
import type { Recipe } from "./takes/permalink.js";
import type { Take } from "./takes/take.js";

export class State {
  phase: Phase = "idle";
  prompt: ChosenPrompt | null = null;
  /** The take in the picture; null shows the prompt. */
  shown: Take | null = null;
  /** The take that is heard for the first time. */
  fresh: Take | null = null;
  making: Making | null = null;
  recording: Recording | null = null;
  /** What has been recorded so far. */
  recorded: Track | null = null;
  /** What the page's address says to make. */
  recipe: Recipe | null = null;

  /** The sound in the picture. */
  get track(): Track | null {
    return this.shown?.track ?? this.recorded ?? this.prompt?.track ?? null;
  }
}
