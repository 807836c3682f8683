/** The playground: what each button and key does. */
import { WhisperGPTError } from "../errors.js";
import { SAMPLE_RATE } from "../events.js";
import { Server } from "../server.js";
import { Maker } from "./maker.js";
import { Prompts } from "./prompts.js";
import { Recording } from "./sound/recording.js";
import { Track } from "./sound/track.js";
import { noteOnLength, Stage } from "./stage.js";
import { State } from "./state.js";
import { Take } from "./takes/take.js";
import { Takes } from "./takes/takes.js";
import { keepOf } from "./takes/take_actions.js";
import { Turns } from "./turns.js";
/** Milliseconds between questions to a server that did not answer. */
const ASKING_MS = 2_000;
const KEY = "whispergpt-key";
/** The page's address without its last part; it may be below a path of a proxy. */
const BASE = new URL(".", location.href).href.replace(/\/$/, "");
export class Playground {
    page;
    controls;
    onError;
    state = new State();
    stage;
    turns;
    prompts;
    maker;
    server = new Server(BASE, sessionStorage.getItem(KEY));
    constructor(page, controls, onError) {
        this.page = page;
        this.controls = controls;
        this.onError = onError;
        const { state } = this;
        this.stage = new Stage(state, page, (act, take) => this.onAct(act, take));
        this.turns = new Turns(state, page, this.stage);
        this.prompts = new Prompts(state, page, controls, this.stage, this.turns);
        this.maker = new Maker(state, page, controls, this.stage, this.turns, () => this.server);
        controls.onSampling = (sampling) => {
            if (this.stage.showsMaking)
                state.making?.change(sampling);
        };
        this.stage.namesSeed = () => controls.namesSeed;
        this.prompts.onStop = () => this.stop();
        controls.onChange = () => {
            state.recipe = null;
            this.stage.refresh();
        };
    }
    get picture() {
        return this.stage.picture;
    }
    /** The second of what is shown that is heard, or would be. */
    get second() {
        return this.stage.position / SAMPLE_RATE;
    }
    /** Seconds of what is shown, as far as they are here. */
    get seconds() {
        return this.state.track?.seconds ?? 0;
    }
    async listModels() {
        this.controls.listModels(await this.server.models());
        this.page.lock(false);
    }
    /** Prepare what the page's address says to make. */
    async openLink() {
        await this.prompts.openLink(this.server);
    }
    async unlock(key) {
        if (!/^[\x21-\x7e]+$/.test(key))
            throw new WhisperGPTError("No key has such characters.", "wrong_key");
        this.server = new Server(BASE, key);
        await this.listModels();
        sessionStorage.setItem(KEY, key); // for this tab alone
        this.page.say("The key fits.");
        this.page.focusOn("go", "record");
        await this.greet("The key fits. ");
    }
    /** Do what the page's address says, or choose a recording, for those who have chosen nothing. */
    async greet(note = "") {
        await this.prompts.greet(this.server, note);
    }
    /** Whether takes would be lost that nobody has saved. */
    get losesTakes() {
        return this.stage.takes.all.some(({ kept, seconds }) => !kept && seconds > 0);
    }
    /** Ask the server until it answers, and say so if nothing else was said meanwhile.
     * @param again does what failed once more
     * @param unasked whether to do so unasked, as the server only had to start */
    async waitForServer(again, unasked) {
        const { said } = this.page;
        while (this.page.said === said) {
            await new Promise((go) => setTimeout(go, ASKING_MS));
            const error = await this.server.models().then(() => null, (error) => error);
            if (error?.code === "unreachable" || error?.code === "starting")
                continue;
            if (this.page.said === said && unasked)
                again();
            else if (this.page.said === said)
                this.page.say("The server answers again.", "plain", { label: "Try again", act: again });
            return;
        }
    }
    async chooseBundled(name) {
        await this.prompts.chooseBundled(name, this.server);
    }
    /** Play a bundled recording from its start, or pause it. */
    async hearBundled(name) {
        await this.prompts.hearBundled(name, this.server);
    }
    async chooseFile(file, of) {
        await this.prompts.chooseFile(file, of);
    }
    /** Continue the prompt, or what is being recorded; or stop. */
    async go() {
        const { recording } = this.state;
        if (recording)
            return recording.stop();
        if (this.stage.mainAct === "stop")
            return this.stop();
        await this.begin();
    }
    /** Continue the prompt, or make what a link says, in the place of what is going on. */
    async begin() {
        const { prompt, recipe } = this.state;
        if (!prompt || !this.controls.valid)
            return;
        this.stage.silence();
        await this.turns.run(async (mine) => {
            await this.ready();
            if (!mine())
                return;
            if (recipe)
                await this.maker.replay(mine, recipe, prompt);
            else
                await this.maker.continue(mine, prompt);
        });
    }
    /** Record a prompt, sent while it is spoken; or stop recording, and keep it. */
    async record() {
        const { state } = this;
        if (state.recording)
            return this.stop();
        if (!this.controls.valid || state.phase === "starting")
            return;
        this.stage.silence();
        await this.turns.run(async (mine) => {
            this.prompts.begin(false);
            await this.ready();
            this.page.say("Allow the microphone, if the browser asks for it.");
            const recording = await Recording.start();
            if (!mine())
                return recording.stop();
            state.recording = recording;
            const track = new Track();
            [state.prompt, state.shown, state.recorded] = [null, null, track];
            recording.onSamples = (samples) => {
                track.push(samples);
                this.page.showLevel(samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
                this.page.showPrompt(`recording, ${recording.seconds.toFixed(1)} s`);
                this.stage.refresh();
            };
            this.page.say("Recording, a minute at most. Press Continue to hear it go on at once, or Stop recording.");
            state.phase = "recording";
            this.prompts.showKinds();
            this.stage.refresh();
            try {
                await this.maker.make(mine, Take.of(this.controls.wanted, null), recording, 0);
            }
            finally {
                if (state.recording === recording)
                    this.turns.keepRecording();
            }
        });
    }
    /** End what is going on. What was made or recorded stays. */
    stop() {
        const { phase, recording } = this.state;
        if (phase === "idle" && !this.stage.playback.playing)
            return;
        this.turns.end();
        this.stage.silence();
        if (recording && this.state.prompt)
            this.page.say("Recorded. Press Continue.");
        else
            this.page.say("Stopped.", "echo");
    }
    /** Continue what is shown in another way, from where it is heard. */
    async fork() {
        const { shown } = this.state;
        if (shown && !this.stage.forkable && this.state.phase !== "starting")
            return this.page.say("A fork starts in a take: click in the coloured part of the picture.");
        if (shown && this.stage.forkable && this.controls.valid)
            await this.maker.fork(shown);
    }
    /** Play what is shown from where it was left, or pause it. */
    async play() {
        await this.stage.play();
    }
    /** Go to a second of what is shown.
     * @param done false while a finger still moves */
    seek(second, done) {
        this.stage.seek(second, done);
    }
    /** Move one end of what is used of the prompt. */
    cut(edge, second, typed = false) {
        this.prompts.cut(edge, second, typed);
    }
    /** Let sound out that the browser held back until a click or a key. */
    awaken() {
        const { playback } = this.stage;
        if (playback.playing && playback.heldBack)
            void playback.open();
    }
    /** Resolves once the loudspeaker is open and the models are known. */
    async ready() {
        await this.stage.playback.open();
        if (!this.controls.knowsModels)
            await this.listModels();
    }
    onAct(act, take) {
        if (act === "show")
            return this.prompts.showTake(take);
        if (act === "remove")
            return this.remove(take);
        if (act === "use_seed") {
            this.controls.useSeed(take.seed);
            this.stage.refresh();
            return this.page.say(`The next take begins with seed ${take.seed}.`);
        }
        if (act === "play") {
            this.prompts.showTake(take);
            return void this.play().catch(this.onError);
        }
        const more = act === "download" || act === "download_all" ? noteOnLength(take) : "";
        void keepOf(act, take, BASE, this.server.key !== null).then((told) => this.page.say(told + more), this.onError);
    }
    /** Remove a take and its forks, until that is undone. */
    remove(take) {
        const { page, stage, state } = this;
        const within = (one) => Takes.lineOf(one).includes(take);
        if (state.making && within(state.making.take))
            this.turns.end();
        if (stage.takes.all.some((one) => within(one) && stage.playback.sounds(one.track)))
            stage.silence();
        if (state.shown && within(state.shown))
            state.shown = null;
        const putBack = stage.takes.remove(take);
        stage.refresh();
        const name = `${take.parent ? "Fork" : "Take"} ${take.name}`;
        page.say(`${name} was removed.`, "plain", { label: "Undo", act: () => {
                putBack();
                this.prompts.showTake(take);
                page.say(`${name} is back.`);
            } });
        page.focusOn("remedy");
    }
}
