/** The playground: a prompt from a file, a bundled recording or the microphone, and its continuation, live. */
import { Continuation } from "../continuation.js";
import { WhisperGPTError } from "../errors.js";
import { FRAME_SAMPLES, SAMPLE_RATE } from "../events.js";
import { Server } from "../server.js";
import { element } from "./page.js";
import { Picture } from "./picture.js";
import { Playback } from "./playback.js";
import { ChosenPrompt } from "./prompt.js";
import { Recording } from "./recording.js";
import { Take } from "./take.js";
import { save } from "./wav.js";
const KEY = "whispergpt-key";
/** Of the prompt, where it is to be heard first. */
const LEAD_SECONDS = 3;
const KEY_TOLD = {
    no_key: "This server asks for a key; enter yours above.",
    wrong_key: "The key is not known here.",
};
export class Playground {
    page;
    picture = new Picture(element("picture"));
    server = new Server(location.origin, sessionStorage.getItem(KEY));
    phase = "idle";
    /** Whether what has begun is not wanted any more, since something else is. */
    unwanted = false;
    /** What the phase is of; settled once it is over. */
    running = Promise.resolve();
    prompt = null;
    take = null;
    playback = new Playback();
    recording = null;
    continuation = null;
    /** Samples played when that was told to the server last. */
    reported = 0;
    constructor(page) {
        this.page = page;
        this.playback.onReport = (report, frame, over) => this.showPlayback(report, frame, over);
        page.onSampling = (sampling) => {
            if (this.take && this.phase === "making")
                this.take.changed = true;
            this.continuation?.change(sampling);
        };
    }
    /** Whether the server lets us: where it wants a key, or another one, the page asks for it. */
    async listModels() {
        const access = element("access");
        try {
            this.page.listModels(await this.server.models());
            access.hidden = true;
            return true;
        }
        catch (error) {
            if (!(error instanceof WhisperGPTError) || !(error.code in KEY_TOLD))
                throw error;
            access.hidden = false;
            element("key").focus();
            this.page.say(KEY_TOLD[error.code], error.code === "no_key" ? "plain" : "error");
            return false;
        }
    }
    async unlock(key) {
        sessionStorage.setItem(KEY, key); // for this tab alone
        this.server = new Server(location.origin, key);
        if (!(await this.listModels()))
            return;
        this.page.say("The key fits.");
        this.page.focusOn("go", "record");
    }
    async chooseBundled(name) {
        await this.quiet();
        this.page.chooseModel(name);
        await this.choose(await ChosenPrompt.read("bundled", await this.server.bundledPrompt(name), `${name}.flac`));
    }
    async chooseFile(file, of) {
        await this.quiet();
        await this.choose(await ChosenPrompt.read("file", file, file.name), of > 1 ? "One at a time: " : "");
    }
    /** Continue the prompt, or what is being recorded. */
    async go() {
        if (this.recording)
            return this.recording.stop();
        const { prompt, phase } = this;
        if (!prompt || phase === "starting" || phase === "making" || !this.page.valid)
            return;
        await this.run(async () => {
            await this.playback.open();
            if (this.unwanted)
                return;
            this.picture.begin(prompt.samples);
            const lead = this.page.hearsPromptFirst ? prompt.samples?.slice(-LEAD_SECONDS * SAMPLE_RATE) : null;
            await this.make(prompt.blob, prompt, lead ?? new Float32Array(0));
        });
    }
    /** Record a prompt, sent while it is spoken; or end that, and continue. */
    async record() {
        if (this.recording)
            return this.recording.stop();
        if (this.phase === "starting" || this.phase === "making" || !this.page.valid)
            return;
        await this.run(async () => {
            await this.playback.open();
            this.page.say("Allow the microphone, if the browser asks for it.");
            const recording = await Recording.start();
            if (this.unwanted)
                return recording.stop();
            this.recording = recording;
            this.prompt = null;
            this.picture.begin(null);
            recording.onSamples = (samples) => {
                this.picture.push(samples);
                this.page.showPrompt(`recording, ${recording.seconds.toFixed(1)} s`);
            };
            this.page.say("Recording; what you say is on its way already.");
            try {
                await this.make(recording, null, new Float32Array(0));
            }
            finally {
                this.keep(recording);
            }
            if (this.prompt && !this.take?.samples)
                this.page.say("Recorded. Press Continue.");
        });
    }
    /** End what is going on. What was recorded stays, and can be continued. */
    stop() {
        this.continuation?.cancel();
        this.recording?.stop();
        this.playback.start(0);
        if (this.phase === "ending" || this.phase === "listening")
            this.rest("Stopped.");
    }
    /** The same past, another future. */
    fork() {
        this.continuation?.fork(crypto.getRandomValues(new Uint32Array(1))[0]);
    }
    /** Play the prompt, and what was made of it, from the start. */
    async listen() {
        const parts = this.take ? this.take.withPrompt() : this.prompt?.samples ? [this.prompt.samples] : [];
        if (parts.length === 0 || !["idle", "ending"].includes(this.phase))
            return;
        await this.run(async () => {
            await this.playback.open();
            this.playback.start(this.take && !this.take.prompt?.samples ? this.picture.join * FRAME_SAMPLES : 0);
            for (const part of parts)
                this.playback.give(part.slice());
            this.playback.finish();
            this.enter("listening");
            this.page.say(this.take?.samples ? "Prompt and continuation, from the start." : "The prompt.");
        });
    }
    download() {
        if (this.take)
            save(this.take.wav(), "continuation.wav");
    }
    downloadWithPrompt() {
        if (this.take)
            save(this.take.wavWithPrompt(), "prompt-and-continuation.wav");
    }
    async copySeed() {
        await this.copy(String(this.take?.seed), "The seed is in the clipboard.");
    }
    async copyCurl() {
        if (!this.take)
            return;
        const command = this.take.curl(location.origin, this.server.key !== null);
        await this.copy(command, `The command is in the clipboard. ${this.take.difference}`);
    }
    useSeed() {
        this.page.seed.value = String(this.take?.seed);
    }
    async choose(prompt, note = "") {
        await this.quiet(); // it may have begun again while the file was read
        this.take = null;
        this.prompt = prompt.refusal ? null : prompt;
        this.picture.begin(prompt.samples);
        this.page.showPrompt(prompt.shortName, prompt.name);
        this.enter("idle");
        if (prompt.refusal)
            throw new WhisperGPTError(prompt.refusal, "bad_prompt");
        const known = prompt.seconds === null ? "this browser cannot show it, but the server may know it." : `${prompt.seconds.toFixed(1)} s.`;
        this.page.say(`${note}${prompt.shortName}: ${known} Press Continue.`);
        this.page.focusOn("go");
    }
    /** Do this and nothing else until it is over. */
    async run(act) {
        this.playback.start(0);
        this.enter("starting");
        const running = act().finally(() => {
            // What came before it failed is still heard.
            if (this.phase === "ending" || this.phase === "listening")
                return;
            const inHand = this.phase === "making" && this.playback.begun && !this.continuation?.cancelled;
            this.continuation = null;
            this.enter(inHand ? "ending" : "idle");
        });
        this.running = running.catch(() => { });
        await running;
    }
    /** Everything that goes on is ended, and over. */
    async quiet() {
        this.unwanted = true;
        this.stop();
        await this.running;
        this.stop();
        this.unwanted = false;
    }
    async make(source, prompt, lead) {
        const take = new Take(this.page.wanted, prompt);
        this.take = take;
        this.page.show("last_seed", "–");
        this.playback.start(this.picture.join * FRAME_SAMPLES - lead.length); // while one records, nobody knows yet
        this.reported = 0;
        if (lead.length)
            this.playback.give(lead);
        const continuation = this.continuationOf(take, lead.length);
        this.continuation = continuation;
        this.enter(this.recording ? "recording" : "making");
        try {
            const done = await continuation.play(source, take.wanted);
            if (done.status === "failed")
                throw new WhisperGPTError("It failed on the server.", "failed");
        }
        catch (error) {
            if (!continuation.cancelled)
                throw error;
        }
        finally {
            this.playback.finish();
        }
        if (continuation.cancelled)
            this.page.say("Stopped.");
        else {
            this.page.say(`All ${take.seconds.toFixed(2)} s are made; the last of them are still to be heard.`);
            this.continuation = null;
            this.enter("ending");
        }
    }
    /** What was recorded is a prompt like any other now, whatever became of it. */
    keep(recording) {
        recording.stop();
        this.recording = null;
        if (this.prompt || recording.seconds === 0)
            return;
        const prompt = ChosenPrompt.recorded(recording);
        if (this.take)
            this.take.prompt = prompt;
        this.page.showPrompt(`recorded, ${recording.seconds.toFixed(1)} s`, "Save the recording", prompt);
        if (!prompt.refusal)
            this.prompt = prompt;
    }
    /** @param lead samples of the prompt that the player was given */
    continuationOf(take, lead) {
        let sent = performance.now();
        return new Continuation(this.server, {
            sent: () => {
                sent = performance.now();
                if (this.recording)
                    this.keep(this.recording);
                this.enter("making");
                this.page.say("Reading the prompt …");
            },
            prompt: () => {
                this.picture.markJoin();
                this.playback.startedAt(this.picture.join * FRAME_SAMPLES - lead);
            },
            started: (seed) => {
                take.seed ??= seed;
                this.page.show("last_seed", String(take.seed));
                this.page.say("Playing.");
            },
            forked: (seed, frame) => {
                take.forks.push(frame);
                this.picture.markFork(this.picture.join + frame);
                this.page.say(`Another future, of seed ${seed}, begins when the dashed line is reached.`);
            },
            audio: (samples) => {
                if (this.continuation?.cancelled)
                    return;
                if (take.samples === 0) {
                    this.page.show("first_audio", `${Math.round(performance.now() - sent)} ms`);
                    take.push(samples);
                    this.enter(this.phase);
                }
                else
                    take.push(samples);
                this.picture.push(samples);
                this.playback.give(samples);
            },
            refused: (error) => this.page.say(error.message, "error"),
            reconnecting: (_, left) => this.page.say(`The connection was lost; trying to go on for ${Math.max(1, Math.round(left))} s more …`, "error"),
        });
    }
    showPlayback({ buffered, played, underruns }, frame, over) {
        this.page.show("buffer", `${Math.round(1000 * buffered)} ms`);
        this.page.show("underruns", String(underruns));
        if (played > 0)
            this.picture.markHeard(frame);
        const last = this.phase === "ending" || this.phase === "listening";
        if (last && over)
            this.rest(this.take?.samples ? `Done: ${this.take.seconds.toFixed(2)} s.` : null);
        if (played - this.reported < SAMPLE_RATE)
            return;
        this.reported = played;
        this.continuation?.report(Math.max(0, frame - this.picture.join) * FRAME_SAMPLES, underruns);
    }
    /** Nothing sounds any more. What went wrong stays said. */
    rest(told) {
        this.enter("idle");
        if (told && element("status").dataset["kind"] !== "error")
            this.page.say(told);
    }
    enter(phase) {
        this.phase = phase;
        this.picture.showWhole(phase === "idle" || phase === "listening");
        const { prompt, take } = this;
        const audible = Boolean(prompt?.samples ?? take?.samples);
        this.page.enter(phase, { prompt: prompt !== null, audible, take: Boolean(take?.samples), seed: take?.seed != null });
    }
    async copy(text, done) {
        try {
            await navigator.clipboard.writeText(text);
            this.page.say(done);
        }
        catch {
            this.page.say(text);
        }
    }
}
