/** The playground: a prompt from a file, a bundled recording or the microphone, and its continuation, live. */
import { Continuation } from "../continuation.js";
import { WhisperGPTError } from "../errors.js";
import { FRAME_SAMPLES, SAMPLE_RATE } from "../events.js";
import { Server } from "../server.js";
import { element } from "./page.js";
import { Picture } from "./picture.js";
import { Playback } from "./playback.js";
import { ChosenPrompt, shortened } from "./prompt.js";
import { Recording } from "./recording.js";
import { MOST_KEPT_SECONDS, Take } from "./take.js";
import { save } from "./wav.js";
const KEY = "whispergpt-key";
/** Of the prompt, where it is to be heard first. */
const LEAD_SECONDS = 3;
export class Playground {
    page;
    picture = new Picture(element("picture"));
    playback = new Playback();
    server = new Server(location.origin, sessionStorage.getItem(KEY));
    phase = "idle";
    turn = 0;
    prompt = null;
    take = null;
    /** The take that is on its way; it is the page's once it has begun. */
    coming = null;
    recording = null;
    continuation = null;
    /** Samples played when that was told to the server last. */
    reported = 0;
    constructor(page) {
        this.page = page;
        this.playback.onReport = (report, frame, over) => this.showPlayback(report, frame, over);
        page.onSampling = (sampling) => {
            if (!this.continuation)
                return;
            this.continuation.change(sampling);
            if (this.coming)
                this.coming.changed = true;
        };
    }
    async listModels() {
        this.page.listModels(await this.server.models());
    }
    async unlock(key) {
        if (!/^[\x21-\x7e]+$/.test(key))
            throw new WhisperGPTError("No key has such characters.", "wrong_key");
        this.server = new Server(location.origin, key);
        await this.listModels();
        sessionStorage.setItem(KEY, key); // for this tab alone
        this.page.say("The key fits.");
        this.page.focusOn("go", "record");
    }
    async chooseBundled(name) {
        const mine = this.begin();
        const prompt = await ChosenPrompt.read("bundled", await this.server.bundledPrompt(name), `${name}.flac`);
        if (!mine())
            return;
        this.page.chooseModel(name);
        this.choose(prompt);
    }
    async chooseFile(file, of) {
        const mine = this.begin();
        this.page.say(`Reading ${shortened(file.name)} …`);
        const prompt = await ChosenPrompt.read("file", file, file.name);
        if (mine())
            this.choose(prompt, of > 1 ? "One at a time: " : "");
    }
    /** Continue the prompt, or what is being recorded. */
    async go() {
        if (this.recording)
            return this.recording.stop();
        const { prompt } = this;
        if (!prompt || !this.page.valid)
            return;
        await this.run(async (mine) => {
            await this.playback.open();
            if (!this.page.knowsModels)
                await this.listModels();
            if (!mine())
                return;
            const lead = this.page.hearsPromptFirst ? prompt.samples?.subarray(-LEAD_SECONDS * SAMPLE_RATE) : null;
            await this.make(mine, prompt.blob, prompt, lead ?? new Float32Array(0));
        });
    }
    /** Record a prompt, sent while it is spoken; or end that, and continue. */
    async record() {
        if (this.recording)
            return this.recording.stop();
        if (!this.page.valid)
            return;
        await this.run(async (mine) => {
            await this.playback.open();
            if (!this.page.knowsModels)
                await this.listModels();
            this.page.say("Allow the microphone, if the browser asks for it.");
            const recording = await Recording.start();
            if (!mine())
                return recording.stop();
            this.recording = recording;
            [this.prompt, this.take] = [null, null];
            this.picture.begin(null);
            recording.onSamples = (samples) => {
                this.picture.push(samples);
                this.page.showPrompt(`recording, ${recording.seconds.toFixed(1)} s`);
            };
            this.page.say("Recording; what you say is on its way already.");
            try {
                await this.make(mine, recording, null, new Float32Array(0));
            }
            finally {
                if (this.recording === recording)
                    this.keep(recording);
            }
        });
    }
    /** End what is going on. What was recorded stays, and can be continued. */
    stop() {
        if (this.phase === "idle")
            return;
        const recorded = this.recording !== null;
        this.begin();
        this.page.say(recorded && this.prompt ? "Recorded. Press Continue." : "Stopped.");
    }
    /** The same past, another future. */
    fork() {
        this.continuation?.fork(crypto.getRandomValues(new Uint32Array(1))[0]);
    }
    /** Play the prompt, and what was made of it, from the start. */
    async listen() {
        const { take, prompt } = this;
        const parts = take ? take.withPrompt() : prompt?.samples ? [prompt.samples] : [];
        if (parts.length === 0)
            return;
        await this.run(async (mine) => {
            await this.playback.open();
            if (!mine())
                return;
            this.playback.start(take && !take.prompt?.samples ? this.picture.join * FRAME_SAMPLES : 0);
            for (const part of parts)
                this.playback.give(part);
            this.playback.finish();
            this.enter("listening");
            this.page.say(take ? `Prompt and continuation, from the start.${this.kept(take)}` : "The prompt.");
        });
    }
    download() {
        if (!this.take)
            return;
        save(this.take.wav(), "continuation.wav");
        this.page.say(`Saved.${this.kept(this.take)}`);
    }
    downloadWithPrompt() {
        if (!this.take)
            return;
        save(this.take.wavWithPrompt(), "prompt-and-continuation.wav");
        this.page.say(`Saved.${this.kept(this.take)}`);
    }
    async copySeed() {
        await this.copy(String(this.take?.seed), "The seed is in the clipboard.");
    }
    async copyCurl() {
        if (!this.take)
            return;
        const command = this.take.curl(location.origin, this.server.key !== null);
        await this.copy(command, "The command is in the clipboard.", this.take.difference);
    }
    useSeed() {
        this.page.seed.value = String(this.take?.seed);
    }
    choose(prompt, note = "") {
        if (prompt.refusal)
            throw new WhisperGPTError(prompt.refusal, "bad_prompt");
        [this.take, this.prompt] = [null, prompt];
        this.picture.begin(prompt.samples);
        this.page.showPrompt(prompt.shortName, prompt.name);
        this.enter("idle");
        const known = prompt.seconds === null ? "this browser cannot show it, but the server may know it." : `${prompt.seconds.toFixed(1)} s.`;
        this.page.say(`${note}${prompt.shortName}: ${known} Press Continue.`);
        this.page.focusOn("go");
    }
    /** Whatever went on is over, and something else may begin. */
    begin() {
        this.continuation?.cancel();
        this.continuation = null;
        if (this.recording)
            this.keep(this.recording);
        this.playback.start(0);
        this.enter("idle");
        const turn = ++this.turn;
        return () => turn === this.turn;
    }
    /** Do this, unless something else comes. */
    async run(act) {
        const mine = this.begin();
        this.enter("starting");
        try {
            await act(mine);
        }
        catch (error) {
            if (mine())
                throw error;
        }
        finally {
            if (mine() && this.phase !== "listening") {
                this.continuation = null;
                // What came, even before it failed, is heard to its end.
                this.enter(this.phase === "making" && this.playback.begun ? "ending" : "idle");
            }
        }
    }
    async make(mine, source, prompt, lead) {
        const take = new Take(this.page.wanted, prompt);
        this.coming = take;
        this.page.show("last_seed", "–");
        this.page.show("first_audio", "–");
        this.playback.start(this.picture.join * FRAME_SAMPLES - lead.length); // while one records, nobody knows yet
        this.reported = 0;
        if (lead.length)
            this.playback.give(lead);
        const continuation = this.continuationOf(mine, take, lead.length);
        this.continuation = continuation;
        this.enter(this.recording ? "recording" : "making");
        const done = await continuation.play(source, take.wanted).finally(() => mine() && this.playback.finish());
        if (!mine())
            return;
        if (done.status === "failed")
            throw new WhisperGPTError("It failed on the server.", "failed");
        this.page.say(`All ${take.seconds.toFixed(2)} s are made; the last of them are still to be heard.`);
    }
    /** What was recorded is a prompt like any other now, whatever became of it. */
    keep(recording) {
        recording.stop();
        this.recording = null;
        if (recording.seconds === 0)
            return;
        const prompt = ChosenPrompt.recorded(recording);
        this.page.showPrompt(`recorded, ${recording.seconds.toFixed(1)} s`, "Save the recording", prompt);
        this.prompt = prompt.refusal ? null : prompt;
    }
    /** @param lead samples of the prompt that are heard first */
    continuationOf(mine, take, lead) {
        let sent = performance.now();
        /** `act`, if anybody still waits for it. */
        const ours = (act) => (...told) => void (mine() && act(...told));
        return new Continuation(this.server, {
            sent: ours(() => {
                sent = performance.now();
                if (this.recording)
                    this.keep(this.recording);
                take.prompt ??= this.prompt;
                this.enter("making");
                this.page.say("Reading the prompt …");
            }),
            prompt: ours(() => {
                if (take.prompt?.kind !== "recording")
                    this.picture.begin(take.prompt?.samples ?? null);
                this.picture.markJoin();
                this.playback.startedAt(this.picture.join * FRAME_SAMPLES - lead);
            }),
            started: ours((seed) => {
                this.take = take;
                take.seed ??= seed;
                this.page.show("last_seed", String(take.seed));
                this.page.say("Playing.");
                this.enter("making");
            }),
            forked: ours((seed, frame) => {
                take.forks.push(frame);
                this.picture.markFork(this.picture.join + frame);
                this.page.say(`Another future, of seed ${seed}, begins when the dashed line is reached.`);
            }),
            audio: ours((samples) => {
                const first = take.samples === 0;
                take.push(samples);
                this.picture.push(samples);
                this.playback.give(samples);
                if (!first)
                    return;
                this.page.show("first_audio", `${Math.round(performance.now() - sent)} ms`);
                this.enter("making"); // there is something to save now
            }),
            refused: ours((error) => this.page.tell(error)),
            reconnecting: ours((_, left) => this.page.say(`The connection was lost; trying to go on for ${Math.max(1, Math.round(left))} s more …`, "error")),
        });
    }
    showPlayback({ buffered, played, underruns }, frame, over) {
        this.page.show("buffer", `${Math.round(1000 * buffered)} ms`);
        this.page.show("underruns", String(underruns));
        if (played > 0)
            this.picture.markHeard(frame);
        if (over && (this.phase === "ending" || this.phase === "listening"))
            this.rest();
        if (played - this.reported < SAMPLE_RATE)
            return;
        this.reported = played;
        this.continuation?.report(Math.max(0, frame - this.picture.join) * FRAME_SAMPLES, underruns);
    }
    /** Nothing sounds any more. What went wrong stays said. */
    rest() {
        const heard = this.phase === "ending" && this.take ? `Done: ${this.take.seconds.toFixed(2)} s.` : "Heard to the end.";
        this.enter("idle");
        if (element("status").dataset["kind"] !== "error")
            this.page.say(heard);
        void this.playback.rest();
    }
    enter(phase) {
        this.phase = phase;
        this.picture.showWhole(phase === "idle" || phase === "listening");
        const { prompt, take } = this;
        const audible = Boolean(prompt?.samples ?? take?.samples);
        this.page.enter(phase, { prompt: prompt !== null, audible, take: Boolean(take?.samples), seed: take?.seed != null });
    }
    /** What is to be said of a take that was longer than what is kept. */
    kept(take) {
        return take.seconds > MOST_KEPT_SECONDS ? ` The first ${MOST_KEPT_SECONDS / 60} minutes are kept.` : "";
    }
    async copy(text, done, more = "") {
        try {
            await navigator.clipboard.writeText(text);
            this.page.say(`${done} ${more}`.trim());
        }
        catch {
            this.page.say(`Copy this: ${text} ${more && `(${more})`}`.trim());
        }
    }
}
