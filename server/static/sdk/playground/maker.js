/** Making of takes: of the prompt, of a link, and as forks. */
import { SAMPLE_RATE } from "../events.js";
import { Making } from "./takes/making.js";
import { wantedOf } from "./takes/permalink.js";
import { Take } from "./takes/take.js";
/** Seconds of the prompt's end that are heard first, where that is wanted. */
const LEAD_SECONDS = 3;
/** Seconds before a fork that are heard first, where nothing is heard yet. */
const FORK_LEAD_SECONDS = 1.5;
/** Seconds by which a fork begins after what is heard, so that its sound is there in time. */
const FORK_AHEAD_SECONDS = 0.5;
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
    }
    /** Continue a prompt as the fields say. */
    async continue(mine, prompt) {
        const take = Take.of(this.controls.wanted, prompt.used());
        const lead = this.controls.hearsPromptFirst ? Math.min(take.join, LEAD_SECONDS * SAMPLE_RATE) : 0;
        await this.make(mine, take, take.source, lead);
    }
    /** Continue a take in another way from where it is heard. */
    async fork(parent) {
        const { playback } = this.stage;
        const opened = playback.open();
        const now = this.stage.position;
        const frame = parent.frameAt(playback.sounds(parent.track) ? now + FORK_AHEAD_SECONDS * SAMPLE_RATE : now);
        const seed = crypto.getRandomValues(new Uint32Array(1))[0];
        const take = Take.fork(parent, frame, { ...this.controls.wanted, ...(parent.wanted.model ? { model: parent.wanted.model } : {}), seed });
        await this.turns.run(async (mine) => {
            await opened;
            if (!mine())
                return;
            const heard = playback.sounds(parent.track) ? playback.position : take.join - FORK_LEAD_SECONDS * SAMPLE_RATE;
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
            const lead = take.parent ? Math.min(take.join, FORK_LEAD_SECONDS * SAMPLE_RATE) : 0;
            await this.make(mine, take, take.source, last ? lead : null);
            if (!mine())
                return;
        }
        this.state.recipe = null;
    }
    /** Make a take.
     * @param lead samples before the take that are heard first; null if the take is not to be heard */
    async make(mine, take, source, lead) {
        const { state, stage, page } = this;
        state.fresh = lead === null ? null : take;
        for (const figure of ["last_seed", "first_audio", "buffer", "underruns"])
            page.show(figure, "–");
        if (state.phase === "starting")
            state.phase = "making";
        if (lead) {
            stage.sound(take.track, take.join - lead);
            stage.show(take);
        }
        state.making = new Making(this.server(), take, this.told(take, lead));
        stage.refresh();
        await state.making.run(source);
        if (mine() && lead !== null && !stage.playback.heldBack)
            page.say(`All ${take.seconds.toFixed(2)} s are made; the last of them are still to be heard.`);
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
                page.show("last_seed", String(take.seed));
                page.say("Playing.");
                stage.show(take);
                if (lead === 0)
                    stage.sound(take.track, take.join);
            },
            grew: (firstAudio) => {
                stage.playback.feed();
                if (firstAudio !== null)
                    page.show("first_audio", `${Math.round(firstAudio)} ms`);
                stage.refresh();
            },
            refused: (error) => page.tell(error),
            reconnecting: (left) => page.say(`The connection was lost; trying to go on for ${Math.max(1, Math.round(left))} s more …`, "error"),
        };
    }
}
