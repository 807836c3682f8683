/** The choice of a prompt: a bundled recording, a file, or what a link names. */
import { insecure, WhisperGPTError } from "../errors.js";
import { element } from "./elements.js";
import { LONGEST_SECONDS, movedCut, SHORTEST_SECONDS } from "./sound/cut.js";
import { kindOf } from "./models.js";
import { ChosenPrompt, shortened } from "./sound/prompt.js";
import { readFragment, toldOf, wantedOf } from "./takes/permalink.js";
/** The bundled recording that is chosen at first. */
const FIRST = "speech";
export class Prompts {
    state;
    page;
    controls;
    stage;
    turns;
    /** What is made is to be stopped. */
    onStop = () => { };
    choices = 0;
    constructor(state, page, controls, stage, turns) {
        this.state = state;
        this.page = page;
        this.controls = controls;
        this.stage = stage;
        this.turns = turns;
        controls.onModel = () => this.modelChosen();
        turns.onRecorded = (prompt) => this.keep(prompt);
        stage.onNews = () => {
            if (state.recipe)
                this.useRecipe();
            else if (state.prompt)
                this.tell(state.prompt, "");
        };
        for (const button of document.querySelectorAll("#kinds [data-model]"))
            button.onclick = () => {
                controls.chooseModel(button.dataset["model"]);
                if (!state.prompt)
                    return;
                state.prompt.model = controls.modelId;
                this.tell(state.prompt, "");
            };
    }
    /** Do what the page's address says, or choose a recording, so that one press makes sound; not over a choice.
     * Where the browser gives the page no live sound, say so instead of what to press. */
    async greet(server, note = "") {
        const refused = insecure();
        if (!this.untouched)
            return;
        await this.openLink(server);
        const { recipe } = this.state;
        const prompt = this.untouched ? await this.chooseBundled(FIRST, server, false) : null;
        if (refused && (recipe || prompt))
            this.page.tell(refused);
        else if (prompt)
            this.page.say(`${note}Press Continue, and ${prompt.title.split(",")[0]} goes on. Or bring a sound of your own.`);
    }
    /** Whether nothing was chosen yet, by the visitor or by the page. */
    get untouched() {
        return !this.state.prompt && !this.state.recipe && this.choices === 0;
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
    /** Returns what was chosen; null if something else was chosen meanwhile. */
    async chooseBundled(name, server, focuses = true) {
        const chosen = this.state.prompt;
        if (chosen?.chip === name) {
            this.chooseAgain(chosen);
            return chosen;
        }
        const mine = this.begin();
        const blob = await server.bundledPrompt(name);
        const prompt = await ChosenPrompt.read("bundled", blob, `${name}.flac`, this.page.titleOf(name));
        if (!mine())
            return null;
        this.choose(prompt, "", focuses);
        return prompt;
    }
    /** Play a bundled recording from its start, or pause it. */
    async hearBundled(name, server) {
        const { prompt } = this.state;
        if (prompt?.chip === name)
            return await this.hear(prompt);
        const opened = this.stage.playback.open(); // in the click, or the browser keeps silent
        const [chosen] = await Promise.all([this.chooseBundled(name, server), opened]);
        if (chosen)
            await this.hear(chosen);
    }
    /** Play what is used of a prompt, or pause it. */
    async hear(prompt) {
        const { state, stage } = this;
        if (state.prompt === prompt && stage.playback.sounds(prompt.track))
            return stage.pause();
        const opened = stage.playback.open();
        if (state.prompt === prompt)
            stage.show(null);
        else
            this.chooseAgain(prompt);
        await opened;
        if (state.prompt !== prompt || !prompt.track)
            return;
        stage.sound(prompt.track, prompt.firstSample, prompt.endSample);
        this.page.say(`The prompt: ${prompt.title}.`, "echo");
    }
    /** Show a take, and choose what it is of. */
    showTake(take) {
        const { state } = this;
        const prompt = take.prompt?.of;
        if (prompt && !state.recording && state.phase !== "starting") {
            this.begin(false);
            prompt.useCut(take.prompt.cut);
            [state.prompt, state.recipe] = [prompt, null];
            this.showName(prompt);
            this.controls.chooseModel(take.wanted.model ?? "");
            this.showKinds();
        }
        this.stage.show(take);
    }
    async chooseFile(file, of) {
        const mine = this.begin();
        this.page.say(`Reading ${shortened(file.name)} …`);
        const prompt = await ChosenPrompt.read("file", file, file.name);
        if (!mine())
            return;
        this.choose(prompt, of > 1 ? "One at a time: " : "");
        this.keep(prompt);
    }
    /** Move one end of what is used of the prompt, and be at its beginning.
     * @param typed whether it is a number that somebody wrote, which must be within the recording */
    cut(edge, second, typed) {
        const { prompt, shown } = this.state;
        if (!prompt?.track || !prompt.cut || shown || !Number.isFinite(second))
            return;
        const { seconds } = prompt.track;
        const [least, most] = edge === "from" ? [0, seconds - SHORTEST_SECONDS] : [SHORTEST_SECONDS, seconds];
        if (typed && (second < least || second > most + 0.01)) {
            this.page.say(`“${edge}” takes ${least.toFixed(1)} to ${most.toFixed(1)} s of this recording, and it uses ${SHORTEST_SECONDS} to ${LONGEST_SECONDS} s.`, "error");
            return this.stage.refresh();
        }
        this.state.recipe = null;
        prompt.cut = movedCut(prompt.cut, edge, Math.round(100 * second) / 100, seconds);
        if (this.stage.shownSounds)
            this.stage.silence();
        this.stage.playback.place(prompt.track, prompt.firstSample);
        this.tell(prompt, "");
        this.stage.refresh();
    }
    /** Prepare what the page's address says to make; a choice made meanwhile comes before it. */
    async openLink(server) {
        const recipe = readFragment(location.hash);
        if (!recipe)
            return;
        const named = recipe.prompt.replace(/\.flac$/, "");
        if (recipe.kind === "bundled" && this.page.titleOf(named) && !(await this.chooseBundled(named, server)))
            return;
        this.state.recipe = recipe;
        if (!this.controls.chooseModel(recipe.model))
            throw new WhisperGPTError(`This link is to a take of the model ${recipe.model}, which this server does not have.`, "bad_link");
        this.controls.fill(wantedOf(recipe, recipe.steps[0]));
        this.useRecipe();
    }
    chooseAgain(prompt) {
        this.begin();
        this.choose(prompt);
    }
    /** Show a prompt of the user's beside the bundled ones. */
    keep(prompt) {
        this.page.showOwn(prompt.kind, prompt.title, () => void this.hear(prompt).catch((error) => this.page.tell(error)), () => this.chooseAgain(prompt), prompt.track !== null);
        this.showName(prompt);
        this.showKinds();
    }
    showName(prompt) {
        const { chip, kind, name, title } = prompt;
        if (kind === "recording")
            this.page.showPrompt(`recorded, ${prompt.seconds.toFixed(1)} s`, { title: "Save the recording", chip, saved: prompt });
        else
            this.page.showPrompt(title, { chip, title: kind === "file" ? name : "" });
    }
    /** Ask what a prompt of the user's is, where the server has a model for each answer. */
    showKinds() {
        const { prompt, recording } = this.state;
        const buttons = [...document.querySelectorAll("#kinds [data-model]")];
        const models = buttons.map((button) => button.dataset["model"]);
        element("kinds").hidden = (!recording && (!prompt || prompt.kind === "bundled")) || !models.every((model) => this.controls.has(model));
        for (const button of buttons)
            button.setAttribute("aria-pressed", String(button.dataset["model"] === this.controls.modelId));
    }
    /** Say where a prompt and the model do not fit. */
    modelChosen() {
        this.showKinds();
        const { prompt, phase } = this.state;
        if (prompt && prompt.kind !== "bundled")
            prompt.model = this.controls.modelId;
        const right = prompt && prompt.model;
        const [is, wants] = [right && kindOf(right), kindOf(this.controls.modelId)];
        if (!right || !is || !wants || is === wants || phase !== "idle" || !this.controls.has(right))
            return;
        const remedy = { label: `Use ${right}`, act: () => {
                this.controls.chooseModel(right);
                this.tell(prompt, "");
            } };
        this.page.say(`${prompt.title} is a ${is}; the model ${this.controls.modelId} continues a ${wants}.`, "error", remedy);
    }
    /** Say what is used of a prompt, and what to press. */
    tell(prompt, note) {
        if (prompt.silent)
            return this.page.say(prompt.whole ? `${prompt.title} is silent; choose a recording with sound.`
                : `${prompt.title} is silent there; choose other seconds, or a recording with sound.`, "error");
        const main = this.stage.mainAct;
        const press = main === "next" || main === "continue" ? "Press Continue." : "It is next: press Stop, then Continue.";
        const take = this.stage.current;
        const sounding = main === "next" && take ? `${take.parent ? "Fork" : "Take"} ${take.name}` : "";
        const stop = { label: `Stop ${sounding.toLowerCase()}`, act: () => {
                this.onStop();
                this.tell(prompt, "");
            } };
        const taken = element("kinds").hidden ? "" : this.kindTold(prompt);
        const goesOn = sounding && ` ${sounding} plays on.`;
        this.page.say(`${note}${prompt.told}${taken} ${press}${goesOn}`, "plain", sounding ? stop : null);
    }
    /** A sentence on whether a prompt of the user's is a voice or a piano: guessed, chosen or asked. */
    kindTold({ guess, model }) {
        if (model === null)
            return " Is it a voice or a piano?";
        const kind = kindOf(this.controls.modelId);
        if (!kind)
            return "";
        return guess === this.controls.modelId ? ` Sounds like a ${kind}.` : ` Continued as a ${kind}.`;
    }
    choose(prompt, note = "", focuses = true) {
        const { state } = this;
        state.recipe = null;
        if (prompt.refusal)
            throw new WhisperGPTError(prompt.refusal, "bad_prompt");
        [state.prompt, state.recorded] = [prompt, null];
        const link = readFragment(location.hash);
        const linked = link && link.kind !== "bundled" && link.prompt === prompt.name;
        // A model of another kind was chosen by hand, which no guess knows better.
        const guessable = prompt.kind === "bundled" || kindOf(this.controls.modelId);
        if (linked || (prompt.model && guessable))
            this.controls.chooseModel(linked ? link.model : prompt.model);
        this.showName(prompt);
        this.showKinds();
        this.stage.show(null);
        this.tell(prompt, note);
        if (focuses && this.stage.mainAct === "continue")
            this.page.focusOn("go");
        if (linked) {
            state.recipe = link;
            this.useRecipe();
        }
    }
    /** Say what the link makes, once its prompt is here. */
    useRecipe() {
        const { prompt, recipe } = this.state;
        if (!recipe)
            return;
        if (prompt?.name !== recipe.prompt) {
            const told = `This link continues ${shortened(recipe.prompt)}: choose that file.`;
            if (this.page.ask(told))
                return this.page.say("", "echo");
            return this.page.say(told, "plain", { label: "Choose the file", act: () => element("file").click() });
        }
        if (recipe.cut)
            prompt.useCut(recipe.cut);
        if (prompt.track)
            this.stage.playback.place(prompt.track, prompt.firstSample);
        this.page.say(`${toldOf(recipe, prompt.title)} Press Play the take.`);
        this.stage.refresh();
    }
}
