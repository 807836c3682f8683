/** Making of takes: of the prompt, of a link, and as forks. */
import { SAMPLE_RATE } from "../events.js";
import { WhisperGPTError } from "../errors.js";
import { randomSeed } from "./controls.js";
import { Making } from "./takes/making.js";
import { wantedOf } from "./takes/permalink.js";
import { Take } from "./takes/take.js";
/** Seconds of the prompt's end that are heard first, where that is wanted. */
const LEAD_SECONDS = 2;
/** Seconds before a fork that are heard first, where nothing is heard yet. */
const FORK_LEAD_SECONDS = 1.5;
/** Seconds by which a fork begins after what is heard, so that its sound is there in time. */
const FORK_AHEAD_SECONDS = 0.5;
const LOST = "The connection was lost";
/** What is said of a server by its error's code, where the connection is not merely lost. */
const REASONS = {
    draining: "The server was stopped",
    cut_off: "The server was stopped",
    starting: "The server is loading its models",
};
/** Codes of errors that a file causes each time. */
const REFUSALS = new Set(["empty_audio", "not_audio", "undecodable", "not_finite", "unusable_rate", "too_short", "too_long"]);
export class Maker {
    state;
    page;
    controls;
    stage;
    turns;
    server;
    constructor(state, page, controls, stage, turns, server) {
        this.state = state;
        this.page = page;
        this.controls = controls;
        this.stage = stage;
        this.turns = turns;
        this.server = server;
        stage.leadOf = (take) => this.leadOf(take);
    }
    /** Continue a prompt as the fields say. */
    async continue(mine, prompt) {
        const take = Take.of(this.controls.wanted, prompt.used());
        await this.make(mine, take, take.source, this.leadOf(take));
    }
    /** Continue a take in another way from where it is heard.
     * @param shown the take that is heard, the last of its line */
    async fork(shown) {
        const { playback } = this.stage;
        const opened = playback.open();
        const ahead = playback.sounds(shown.track) ? FORK_AHEAD_SECONDS * SAMPLE_RATE : 0;
        const sample = Math.min(shown.track.samples, this.stage.position + ahead);
        const parent = shown.partAt(sample);
        const frame = parent.frameAt(sample);
        const seed = randomSeed();
        const take = Take.fork(parent, frame, { ...this.controls.wanted, ...(parent.wanted.model ? { model: parent.wanted.model } : {}), seed });
        await this.turns.run(async (mine) => {
            await opened;
            if (!mine())
                return;
            const heard = playback.sounds(shown.track) ? playback.position : take.join - FORK_LEAD_SECONDS * SAMPLE_RATE;
            await this.make(mine, take, take.source, take.join - Math.max(0, Math.min(take.join, heard)));
        });
    }
    /** Make the take and the forks of a link; the last of them is heard. */
    async replay(mine, recipe, prompt) {
        let take = null;
        for (const [i, step] of recipe.steps.entries()) {
            const last = i === recipe.steps.length - 1;
            const wanted = { ...wantedOf(recipe, step), ...(last ? {} : { pace: "fast" }) };
            take = take ? Take.fork(take, step.frame, wanted) : Take.of(wanted, prompt.used());
            await this.make(mine, take, take.source, last ? this.leadOf(take) : null);
            if (!mine())
                return;
        }
        this.state.recipe = null;
        this.controls.useSeed(null);
    }
    /** Samples before a take that are heard first, where nothing is heard yet. */
    leadOf(take) {
        const first = this.controls.hearsPromptFirst ? LEAD_SECONDS : 0;
        return Math.min(take.join, (take.parent ? FORK_LEAD_SECONDS : first) * SAMPLE_RATE);
    }
    /** Make a take.
     * @param lead samples before the take that are heard first; null if the take is not to be heard */
    async make(mine, take, source, lead) {
        const { state, stage, page } = this;
        state.fresh = lead === null ? null : take;
        if (state.phase === "starting")
            state.phase = "making";
        if (lead) {
            stage.sound(take.track, take.join - lead);
            stage.show(take);
        }
        state.making = new Making(this.server(), take, this.told(take, lead));
        stage.refresh();
        try {
            await state.making.run(source);
        }
        catch (error) {
            if (take.prompt?.of && error instanceof WhisperGPTError && REFUSALS.has(error.code))
                take.prompt.of.refused = true;
            throw error;
        }
        if (mine() && !take.full && lead !== null && state.shown === take && !stage.playback.heldBack) {
            const left = (take.track.samples - stage.position) / SAMPLE_RATE;
            page.say(`Made; ${left.toFixed(1)} s still to hear.`, "echo");
        }
    }
    /** What the page does with the news of a take. */
    told(take, lead) {
        const { state, stage, page } = this;
        return {
            sent: () => {
                this.turns.keepRecording();
                if (!take.prompt && state.prompt)
                    take.recorded(state.prompt.used());
                state.phase = "making";
                page.say("Reading the prompt …");
                stage.refresh();
            },
            started: () => {
                stage.takes.add(take);
                if (!state.shown && state.prompt !== take.prompt?.of) { // another prompt was chosen meanwhile
                    stage.refresh();
                    stage.onNews();
                }
                else {
                    page.say("Playing.", "echo");
                    stage.show(take);
                }
                if (lead === 0)
                    stage.sound(take.track, take.join);
                else if (lead === null)
                    stage.playback.place(take.track, stage.startOf(take));
            },
            grew: (firstAudio) => {
                stage.playback.feed();
                if (firstAudio !== null)
                    take.firstAudio = firstAudio;
                if ([LOST, ...Object.values(REASONS)].some((told) => page.said.startsWith(told)))
                    page.say("Playing.", "echo");
                stage.refresh();
            },
            refused: (error) => page.tell(error),
            reconnecting: ({ code }, left) => {
                const time = code === "starting" ? "" : ` for ${Math.max(1, Math.round(left))} s more`;
                page.say(`${REASONS[code] ?? LOST}; trying to go on${time} …`, "error");
            },
        };
    }
}
