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
import { keepOf } from "./takes/take_actions.js";
import { Turns } from "./turns.js";
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
        controls.onSampling = (sampling) => state.making?.change(sampling);
        controls.onChange = () => (state.recipe = null);
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
        await this.openLink();
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
        const { recording, phase, prompt, recipe } = this.state;
        if (recording)
            return recording.stop();
        if (phase !== "idle" || this.stage.playback.playing)
            return this.stop();
        if (!prompt || !this.controls.valid)
            return;
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
        if (!this.controls.valid || state.phase !== "idle")
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
                this.page.showPrompt(`recording, ${recording.seconds.toFixed(1)} s`);
            };
            this.page.say("Recording; what you say is on its way already.");
            state.phase = "recording";
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
        this.page.say(recording && this.state.prompt ? "Recorded. Press Continue." : "Stopped.");
    }
    /** Continue what is shown in another way, from where it is heard. */
    async fork() {
        const { shown } = this.state;
        if (shown && shown.seconds > 0 && this.controls.valid)
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
    cut(edge, second) {
        this.prompts.cut(edge, second);
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
            return this.stage.show(take);
        if (act === "use_seed")
            return this.controls.useSeed(take.seed);
        if (act === "play") {
            this.stage.show(take);
            return void this.play().catch(this.onError);
        }
        const more = act === "download" || act === "download_all" ? noteOnLength(take) : "";
        void keepOf(act, take, BASE, this.server.key !== null).then((told) => this.page.say(told + more), this.onError);
    }
}
