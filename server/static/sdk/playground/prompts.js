/** The choice of a prompt: a bundled recording, a file, or what a link names. */
import { WhisperGPTError } from "../errors.js";
import { movedCut } from "./sound/cut.js";
import { ChosenPrompt, shortened } from "./sound/prompt.js";
import { readFragment, toldOf, wantedOf } from "./takes/permalink.js";
export class Prompts {
    state;
    page;
    controls;
    stage;
    turns;
    choices = 0;
    constructor(state, page, controls, stage, turns) {
        this.state = state;
        this.page = page;
        this.controls = controls;
        this.stage = stage;
        this.turns = turns;
    }
    /** Begin a choice, which the next one replaces.
     * @param ends whether it ends a recording, and work that has not begun to sound */
    begin(ends = true) {
        const { recording, phase } = this.state;
        if (ends && (recording || phase === "starting"))
            this.turns.end();
        const choice = ++this.choices;
        return () => choice === this.choices;
    }
    async chooseBundled(name, server) {
        const mine = this.begin();
        const blob = await server.bundledPrompt(name);
        const prompt = await ChosenPrompt.read("bundled", blob, `${name}.flac`, this.page.titleOf(name));
        if (!mine())
            return;
        this.controls.chooseModel(name.split("-")[0]);
        this.choose(prompt);
    }
    /** Play a bundled recording from its start, or pause it. */
    async hearBundled(name, server) {
        const { state, stage } = this;
        const same = () => state.prompt?.kind === "bundled" && state.prompt.name === `${name}.flac`;
        if (same() && stage.playback.sounds(state.prompt.track))
            return stage.pause();
        const opened = stage.playback.open();
        if (same())
            stage.show(null);
        else
            await this.chooseBundled(name, server);
        await opened;
        if (!same() || !state.prompt.track)
            return;
        stage.sound(state.prompt.track, 0);
        this.page.say(`The prompt: ${state.prompt.title}.`);
    }
    async chooseFile(file, of) {
        const mine = this.begin();
        this.page.say(`Reading ${shortened(file.name)} …`);
        const prompt = await ChosenPrompt.read("file", file, file.name);
        if (mine())
            this.choose(prompt, of > 1 ? "One at a time: " : "");
    }
    /** Move one end of what is used of the prompt. */
    cut(edge, second) {
        const { prompt, shown } = this.state;
        if (!prompt?.track || !prompt.cut || shown || !Number.isFinite(second))
            return;
        this.state.recipe = null;
        prompt.cut = movedCut(prompt.cut, edge, Math.round(100 * second) / 100, prompt.track.seconds);
        this.page.say(`${prompt.told} Press Continue.`);
        this.stage.refresh();
    }
    /** Prepare what the page's address says to make. */
    async openLink(server) {
        const recipe = readFragment(location.hash);
        if (!recipe)
            return;
        const named = recipe.prompt.replace(/\.flac$/, "");
        if (recipe.kind === "bundled" && this.page.titleOf(named))
            await this.chooseBundled(named, server);
        this.state.recipe = recipe;
        if (!this.controls.chooseModel(recipe.model))
            throw new WhisperGPTError(`This link is to a take of the model ${recipe.model}, which this server does not have.`, "bad_link");
        this.controls.fill(wantedOf(recipe, recipe.steps[0]));
        this.useRecipe();
    }
    choose(prompt, note = "") {
        const { state } = this;
        state.recipe = null;
        if (prompt.refusal)
            throw new WhisperGPTError(prompt.refusal, "bad_prompt");
        [state.prompt, state.recorded] = [prompt, null];
        this.page.showPrompt(prompt.title, prompt.kind === "bundled" ? { bundled: prompt.name } : { title: prompt.name });
        this.stage.show(null);
        const quiet = state.phase === "idle" && !this.stage.playback.playing;
        this.page.say(`${note}${prompt.told} ${quiet ? "Press Continue." : "It is next: press Stop, then Continue."}`);
        if (quiet)
            this.page.focusOn("go");
        const readable = readFragment(location.hash);
        if (readable && readable.kind !== "bundled" && readable.prompt === prompt.name) {
            state.recipe = readable;
            this.useRecipe();
        }
    }
    /** Say what the link makes, once its prompt is here. */
    useRecipe() {
        const { prompt, recipe } = this.state;
        if (!recipe)
            return;
        if (prompt?.name !== recipe.prompt)
            return this.page.say(`This link continues ${shortened(recipe.prompt)}: choose that file.`);
        if (recipe.cut)
            prompt.useCut(recipe.cut);
        this.page.say(`This link is to ${toldOf(recipe, prompt.title)}: press Continue.`);
        this.stage.refresh();
    }
}
