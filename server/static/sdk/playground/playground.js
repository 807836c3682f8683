/** The playground: prompts, and takes of them that are made, heard and forked. */
import { WhisperGPTError } from "../errors.js";
import { SAMPLE_RATE } from "../events.js";
import { Server } from "../server.js";
import { element } from "./elements.js";
import { Picture } from "./picture/picture.js";
import { movedCut } from "./sound/cut.js";
import { Playback } from "./sound/playback.js";
import { ChosenPrompt, shortened } from "./sound/prompt.js";
import { Recording } from "./sound/recording.js";
import { Track } from "./sound/track.js";
import { Making } from "./takes/making.js";
import { readFragment, toldOf, wantedOf } from "./takes/permalink.js";
import { MOST_KEPT_SECONDS, Take } from "./takes/take.js";
import { TakeList } from "./takes/take_list.js";
import { keepOf } from "./takes/take_actions.js";
import { Takes } from "./takes/takes.js";
import { viewOf } from "./view.js";
const KEY = "whispergpt-key";
/** Where this page lies, which may be below a path of a proxy. */
const BASE = new URL(".", location.href).href.replace(/\/$/, "");
/** Of the prompt, where it is to be heard first. */
const LEAD_SECONDS = 3;
/** Of what comes before a fork, where nothing is heard yet. */
const FORK_LEAD_SECONDS = 1.5;
/** So far ahead of what is heard a fork begins, so that its sound is there in time. */
const FORK_AHEAD_SECONDS = 0.5;
export class Playground {
    page;
    controls;
    onError;
    picture = new Picture(element("picture"));
    playback = new Playback();
    takes = new Takes();
    list = new TakeList((act, take) => this.onAct(act, take));
    server = new Server(BASE, sessionStorage.getItem(KEY));
    phase = "idle";
    turn = 0;
    choices = 0;
    prompt = null;
    /** What the picture shows, if not the prompt. */
    shown = null;
    /** The take that is heard for the first time. */
    fresh = null;
    making = null;
    recording = null;
    recorded = null;
    /** What the page's address says to make. */
    recipe = null;
    constructor(page, controls, onError) {
        this.page = page;
        this.controls = controls;
        this.onError = onError;
        this.picture.head = () => this.position;
        this.playback.onReport = (report) => this.showPlayback(report);
        this.playback.onEnd = () => this.heardToTheEnd();
        this.playback.onHeldBack = (held) => this.showHeldBack(held);
        controls.onSampling = (sampling) => this.making?.change(sampling);
        controls.onChange = () => (this.recipe = null);
    }
    /** Seconds: where in what is shown one hears, or would. */
    get second() {
        return this.position / SAMPLE_RATE;
    }
    /** Seconds of what is shown, as far as they are here. */
    get seconds() {
        return this.track?.seconds ?? 0;
    }
    async listModels() {
        this.controls.listModels(await this.server.models());
        this.page.lock(false);
    }
    /** Prepare what the page's address says. */
    async openLink() {
        const recipe = readFragment(location.hash);
        if (!recipe)
            return;
        const named = recipe.prompt.replace(/\.flac$/, "");
        if (recipe.kind === "bundled" && document.querySelector(`[data-prompt="${CSS.escape(named)}"]`))
            await this.chooseBundled(named);
        this.recipe = recipe;
        if (!this.controls.chooseModel(recipe.model))
            throw new WhisperGPTError(`This link is to a take of the model ${recipe.model}, which this server does not have.`, "bad_link");
        this.controls.fill(wantedOf(recipe, recipe.steps[0]));
        this.useRecipe();
    }
    async unlock(key) {
        if (!/^[\x21-\x7e]+$/.test(key))
            throw new WhisperGPTError("No key has such characters.", "wrong_key");
        this.server = new Server(BASE, key);
        await this.listModels();
        sessionStorage.setItem(KEY, key); // for this tab alone
        this.page.say("The key fits.");
        this.page.focusOn("go", "record");
        await this.openLink();
    }
    async chooseBundled(name) {
        const mine = this.beginChoice();
        const prompt = await ChosenPrompt.read("bundled", await this.server.bundledPrompt(name), `${name}.flac`);
        if (!mine())
            return;
        this.controls.chooseModel(name.split("-")[0]);
        this.choose(prompt);
    }
    /** Play a bundled recording from its start, or end that. */
    async hearBundled(name) {
        const same = () => this.prompt?.kind === "bundled" && this.prompt.name === `${name}.flac`;
        if (same() && this.playback.sounds(this.prompt.track))
            return this.pause();
        const opened = this.playback.open();
        if (same())
            this.show(null);
        else
            await this.chooseBundled(name);
        await opened;
        if (!same() || !this.prompt.track)
            return;
        this.sound(this.prompt.track, 0);
        this.page.say(`The prompt ${this.prompt.shortName}.`);
    }
    async chooseFile(file, of) {
        const mine = this.beginChoice();
        this.page.say(`Reading ${shortened(file.name)} …`);
        const prompt = await ChosenPrompt.read("file", file, file.name);
        if (mine())
            this.choose(prompt, of > 1 ? "One at a time: " : "");
    }
    /** Continue the prompt, or what is being recorded; or stop. */
    async go() {
        if (this.recording)
            return this.recording.stop();
        if (this.phase !== "idle" || this.playback.playing)
            return this.stop();
        const { prompt, recipe } = this;
        if (!prompt || !this.controls.valid)
            return;
        await this.run(async (mine) => {
            await this.playback.open();
            if (!this.controls.knowsModels)
                await this.listModels();
            if (!mine())
                return;
            if (recipe)
                return await this.replay(mine, recipe, prompt);
            const take = Take.of(this.controls.wanted, prompt.used());
            const lead = this.controls.hearsPromptFirst ? Math.min(take.join, LEAD_SECONDS * SAMPLE_RATE) : 0;
            await this.make(mine, take, take.source, lead);
        });
    }
    /** Record a prompt, sent while it is spoken; or end that, and keep it. */
    async record() {
        if (this.recording)
            return this.stop();
        if (!this.controls.valid || this.phase !== "idle")
            return;
        this.silence();
        await this.run(async (mine) => {
            this.beginChoice(false);
            await this.playback.open();
            if (!this.controls.knowsModels)
                await this.listModels();
            this.page.say("Allow the microphone, if the browser asks for it.");
            const recording = await Recording.start();
            if (!mine())
                return recording.stop();
            this.recording = recording;
            const track = new Track();
            [this.prompt, this.shown, this.recorded] = [null, null, track];
            recording.onSamples = (samples) => {
                track.push(samples);
                this.page.showPrompt(`recording, ${recording.seconds.toFixed(1)} s`);
            };
            this.page.say("Recording; what you say is on its way already.");
            this.phase = "recording";
            try {
                await this.make(mine, Take.of(this.controls.wanted, null), recording, 0);
            }
            finally {
                if (this.recording === recording)
                    this.keep(recording);
            }
        });
    }
    /** End what is going on. What was made or recorded stays. */
    stop() {
        if (this.phase === "idle" && !this.playback.playing)
            return;
        const recorded = this.recording !== null;
        this.end();
        this.silence();
        this.page.say(recorded && this.prompt ? "Recorded. Press Continue." : "Stopped.");
    }
    /** Another future of what is shown, from where one hears it. */
    async fork() {
        const { shown } = this;
        if (!shown || shown.seconds === 0 || !this.controls.valid)
            return;
        const opened = this.playback.open();
        const now = this.position;
        const frame = shown.frameAt(this.playback.sounds(shown.track) ? now + FORK_AHEAD_SECONDS * SAMPLE_RATE : now);
        const seed = crypto.getRandomValues(new Uint32Array(1))[0];
        const take = Take.fork(shown, frame, { ...this.controls.wanted, ...(shown.wanted.model ? { model: shown.wanted.model } : {}), seed });
        await this.run(async (mine) => {
            await opened;
            if (!mine())
                return;
            const heard = this.playback.sounds(shown.track) ? this.playback.position : take.join - FORK_LEAD_SECONDS * SAMPLE_RATE;
            await this.make(mine, take, take.source, take.join - Math.max(0, Math.min(take.join, heard)));
        });
    }
    /** Play what is shown from where one was, or pause it. */
    async play() {
        const { track } = this;
        if (this.shownSounds && !this.playback.heldBack)
            return this.pause();
        await this.playback.open();
        if (!track || track !== this.track)
            return;
        const place = this.position;
        this.sound(track, place < track.samples ? place : 0);
        if (!this.playback.heldBack)
            this.page.say(this.shown ? `Playing ${this.shown.parent ? "fork" : "take"} ${this.shown.name}.${kept(this.shown)}` : "The prompt.");
    }
    /** Go to this second of what is shown. */
    seek(second, done) {
        const { track } = this;
        if (!track)
            return;
        const sample = Math.round(Math.min(second, track.seconds) * SAMPLE_RATE);
        if (!this.shownSounds)
            this.playback.place(track, sample);
        else if (done)
            this.sound(track, sample);
        this.showTime();
        this.refresh();
    }
    /** Move one end of what is used of the prompt. */
    cut(edge, second) {
        const { prompt } = this;
        if (!prompt?.track || !prompt.cut || this.shown || !Number.isFinite(second))
            return;
        this.recipe = null;
        prompt.cut = movedCut(prompt.cut, edge, Math.round(100 * second) / 100, prompt.track.seconds);
        this.page.say(`${prompt.told} Press Continue.`);
        this.refresh();
    }
    /** The browser may let sound out after a click or a key. */
    awaken() {
        if (this.playback.playing && this.playback.heldBack)
            void this.playback.open();
    }
    get track() {
        return this.shown?.track ?? this.recorded ?? this.prompt?.track ?? null;
    }
    get position() {
        return this.playback.placeIn(this.track);
    }
    get shownSounds() {
        return this.playback.sounds(this.track);
    }
    beginChoice(ends = true) {
        if (ends && (this.recording || this.phase === "starting"))
            this.end();
        const choice = ++this.choices;
        return () => choice === this.choices;
    }
    choose(prompt, note = "") {
        this.recipe = null;
        if (prompt.refusal)
            throw new WhisperGPTError(prompt.refusal, "bad_prompt");
        [this.prompt, this.recorded] = [prompt, null];
        this.page.showPrompt(prompt.shortName, prompt.name);
        this.show(null);
        const quiet = this.phase === "idle" && !this.playback.playing;
        this.page.say(`${note}${prompt.told} ${quiet ? "Press Continue." : "It is next: press Stop, then Continue."}`);
        if (quiet)
            this.page.focusOn("go");
        const readable = readFragment(location.hash);
        if (readable && readable.kind !== "bundled" && readable.prompt === prompt.name) {
            this.recipe = readable;
            this.useRecipe();
        }
    }
    /** Say what the link makes, once its prompt is here. */
    useRecipe() {
        const { prompt, recipe } = this;
        if (!recipe)
            return;
        if (prompt?.name !== recipe.prompt)
            return this.page.say(`This link continues ${shortened(recipe.prompt)}: choose that file.`);
        if (recipe.cut)
            prompt.useCut(recipe.cut);
        this.page.say(`This link is to ${toldOf(recipe)}: press Continue.`);
        this.refresh();
    }
    /** Make what a link says; the last step is heard. */
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
        this.recipe = null;
    }
    /** Whatever was being made is over, and something else may begin. */
    end() {
        this.making?.cancel();
        this.making = null;
        if (this.recording)
            this.keep(this.recording);
        this.phase = "idle";
        this.refresh();
        const turn = ++this.turn;
        return () => turn === this.turn;
    }
    /** Do this, unless something else comes. */
    async run(act) {
        const mine = this.end();
        this.phase = "starting";
        this.refresh();
        try {
            await act(mine);
        }
        catch (error) {
            if (mine())
                throw error;
        }
        finally {
            if (mine()) {
                [this.making, this.phase] = [null, "idle"];
                if (this.shown && !this.takes.all.includes(this.shown))
                    this.shown = null;
                this.playback.feed(); // what came, even before it failed, is heard to its end
                this.refresh();
            }
        }
    }
    /** @param lead samples before the take that are heard first; null if it is not to be heard */
    async make(mine, take, source, lead) {
        this.fresh = lead === null ? null : take;
        for (const figure of ["last_seed", "first_audio", "buffer", "underruns"])
            this.page.show(figure, "–");
        if (this.phase === "starting")
            this.phase = "making";
        if (lead) {
            this.sound(take.track, take.join - lead);
            this.show(take);
        }
        this.making = new Making(this.server, take, {
            sent: () => {
                if (this.recording)
                    this.keep(this.recording);
                if (!take.prompt && this.prompt)
                    take.recorded(this.prompt.used());
                this.phase = "making";
                this.page.say("Reading the prompt …");
                this.refresh();
            },
            started: () => {
                this.takes.add(take);
                this.page.show("last_seed", String(take.seed));
                this.page.say("Playing.");
                this.show(take);
                if (lead === 0)
                    this.sound(take.track, take.join);
            },
            grew: (firstAudio) => {
                this.playback.feed();
                if (firstAudio !== null)
                    this.page.show("first_audio", `${Math.round(firstAudio)} ms`);
                this.refresh();
            },
            refused: (error) => this.page.tell(error),
            reconnecting: (left) => this.page.say(`The connection was lost; trying to go on for ${Math.max(1, Math.round(left))} s more …`, "error"),
        });
        this.refresh();
        await this.making.run(source);
        if (mine() && lead !== null && !this.playback.heldBack)
            this.page.say(`All ${take.seconds.toFixed(2)} s are made; the last of them are still to be heard.`);
    }
    /** What was recorded is a prompt like any other now, whatever became of it. */
    keep(recording) {
        recording.stop();
        [this.recording, this.recorded] = [null, null];
        if (recording.seconds === 0)
            return;
        const prompt = ChosenPrompt.recorded(recording);
        this.page.showPrompt(`recorded, ${recording.seconds.toFixed(1)} s`, "Save the recording", prompt);
        this.prompt = prompt.refusal ? null : prompt;
    }
    onAct(act, take) {
        if (act === "show")
            return this.show(take);
        if (act === "use_seed")
            return this.controls.useSeed(take.seed);
        if (act === "play") {
            this.show(take);
            return void this.play().catch(this.onError);
        }
        const more = act === "download" || act === "download_all" ? kept(take) : "";
        void keepOf(act, take, BASE, this.server.key !== null).then((told) => this.page.say(told + more), this.onError);
    }
    /** Let this be seen; null for the prompt. */
    show(take) {
        this.shown = take;
        this.refresh();
        this.showTime();
    }
    /** Let this be heard in the place of what was. */
    sound(track, from) {
        this.playback.play(track, from);
        this.refresh();
        if (this.playback.heldBack)
            this.showHeldBack(true);
    }
    pause() {
        this.silence();
        this.page.say(`Paused.`);
    }
    silence() {
        this.playback.stop();
        this.fresh = null;
        this.refresh();
    }
    showPlayback({ underruns }) {
        const { playback, fresh, making } = this;
        if (fresh && playback.track === fresh.track) {
            this.page.show("buffer", `${Math.round((1000 * (fresh.track.samples - playback.position)) / SAMPLE_RATE)} ms`);
            this.page.show("underruns", String(underruns));
        }
        if (making?.take.track === playback.track)
            making?.report(playback.position, underruns);
        this.showTime();
    }
    showTime() {
        this.page.showTime(this.second, this.seconds);
    }
    /** Nothing sounds any more. What went wrong stays said. */
    heardToTheEnd() {
        const { fresh, playback } = this;
        if (fresh?.track === playback.track)
            this.page.show("buffer", "0 ms");
        if (!this.page.saysError)
            this.page.say(fresh?.track === playback.track ? `Done: ${fresh.seconds.toFixed(2)} s.` : "Heard to the end.");
        this.fresh = null;
        this.refresh();
        this.showTime();
    }
    showHeldBack(held) {
        if (held)
            this.page.say("The browser holds the sound back. Press Play to hear it from here.", "error");
        else
            this.page.say("Playing.");
        this.refresh();
    }
    /** Bring the page up to date with what there is. */
    refresh() {
        const { phase, playback, shown, prompt, track, takes } = this;
        this.picture.show(viewOf(shown, this.recorded, prompt));
        const sounding = takes.all.find((take) => playback.sounds(take.track)) ?? null;
        this.list.update(takes.all, shown, sounding);
        const promptShown = !shown && prompt?.track ? prompt : null;
        this.page.showCut(promptShown?.cut ?? null, promptShown?.track?.seconds ?? 0);
        this.page.enter({
            phase,
            sounding: playback.playing,
            shownSounds: this.shownSounds && !playback.heldBack,
            prompt: prompt !== null,
            audible: (track?.samples ?? 0) > 0,
            forkable: (shown?.seconds ?? 0) > 0,
        });
    }
}
/** What is to be said of a take that was longer than what is kept. */
function kept(take) {
    return take.seconds > MOST_KEPT_SECONDS ? ` The first ${MOST_KEPT_SECONDS / 60} minutes are kept.` : "";
}
