/** One piece of work at a time: whatever is begun or stopped ends what was going on. */

import type { Page } from "./page.js";
import { ChosenPrompt } from "./sound/prompt.js";
import type { Stage } from "./stage.js";
import type { State } from "./state.js";

/** Whether the work that asks is still what the page is at. */
export type Mine = () => boolean;

export class Turns {
  /** A recording became a prompt. */
  onRecorded: (prompt: ChosenPrompt) => void = () => {};
  private turn = 0;

  constructor(
    private readonly state: State,
    private readonly page: Page,
    private readonly stage: Stage,
  ) {}

  /** End what is going on; what was made or recorded stays. */
  end(): Mine {
    const { state } = this;
    state.making?.cancel();
    state.making = null;
    this.keepRecording();
    this.leaveUnbegun();
    state.phase = "idle";
    this.stage.refresh();
    const turn = ++this.turn;
    return () => turn === this.turn;
  }

  /** Begin work in the place of what is going on. Rejects with its error, unless something else was begun meanwhile. */
  async run(act: (mine: Mine) => Promise<void>): Promise<void> {
    const { state, stage } = this;
    const mine = this.end();
    state.phase = "starting";
    stage.refresh();
    try {
      await act(mine);
    } catch (error) {
      if (mine()) throw error;
    } finally {
      if (mine()) {
        [state.making, state.phase] = [null, "idle"];
        this.leaveUnbegun();
        stage.playback.feed(); // what came, even before it failed, is heard to its end
        stage.refresh();
      }
    }
  }

  /** Show the prompt instead of a take that never began, of which only the prompt's end is heard. */
  private leaveUnbegun(): void {
    const { state, stage } = this;
    const { shown } = state;
    if (!shown || stage.takes.all.includes(shown)) return;
    state.shown = null;
    if (stage.playback.sounds(shown.track)) stage.silence();
  }

  /** Stop recording, and let the recording be a prompt like any other. */
  keepRecording(): void {
    const { state } = this;
    const { recording } = state;
    if (!recording) return;
    recording.stop();
    [state.recording, state.recorded] = [null, null];
    if (recording.seconds === 0) return;
    const prompt = ChosenPrompt.recorded(recording);
    state.prompt = prompt.refusal ? null : prompt;
    if (state.prompt) this.onRecorded(state.prompt);
    else this.page.showPrompt(`recorded, ${recording.seconds.toFixed(1)} s`, { title: "Save the recording", saved: prompt });
  }
}
