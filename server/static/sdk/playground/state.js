/** What the page is at: what is chosen, shown, made and recorded. */
export class State {
    phase = "idle";
    prompt = null;
    /** The take in the picture; null shows the prompt. */
    shown = null;
    /** The take that is heard for the first time. */
    fresh = null;
    making = null;
    recording = null;
    /** What has been recorded so far. */
    recorded = null;
    /** What the page's address says to make. */
    recipe = null;
    /** The sound in the picture. */
    get track() {
        return this.shown?.track ?? this.recorded ?? this.prompt?.track ?? null;
    }
}
