/** The playground: a prompt from a file, a bundled recording or the microphone, and its continuation, live. */

import { Continuation, type Prompt } from "../continuation.js";
import { WhisperGPTError } from "../errors.js";
import { FRAME_SAMPLES, SAMPLE_RATE } from "../events.js";
import type { JitterReport } from "../jitter.js";
import { Server } from "../server.js";
import { element, type Page, type Phase } from "./page.js";
import { Picture } from "./picture.js";
import { Playback } from "./playback.js";
import { ChosenPrompt, shortened } from "./prompt.js";
import { Recording } from "./recording.js";
import { MOST_KEPT_SECONDS, Take } from "./take.js";
import { save } from "./wav.js";

const KEY = "whispergpt-key";
/** Of the prompt, where it is to be heard first. */
const LEAD_SECONDS = 3;

/** Whether what asks is still what the page is at: whatever is begun, chosen or stopped takes its place. */
type Mine = () => boolean;

export class Playground {
  private readonly picture = new Picture(element<HTMLCanvasElement>("picture"));
  private readonly playback = new Playback();
  private server = new Server(location.origin, sessionStorage.getItem(KEY));
  private phase: Phase = "idle";
  private turn = 0;
  private prompt: ChosenPrompt | null = null;
  private take: Take | null = null;
  /** The take that is on its way; it is the page's once it has begun. */
  private coming: Take | null = null;
  private recording: Recording | null = null;
  private continuation: Continuation | null = null;
  /** Samples played when that was told to the server last. */
  private reported = 0;

  constructor(private readonly page: Page) {
    this.playback.onReport = (report, frame, over) => this.showPlayback(report, frame, over);
    page.onSampling = (sampling) => {
      if (!this.continuation) return;
      this.continuation.change(sampling);
      if (this.coming) this.coming.changed = true;
    };
  }

  async listModels(): Promise<void> {
    this.page.listModels(await this.server.models());
  }

  async unlock(key: string): Promise<void> {
    if (!/^[\x21-\x7e]+$/.test(key)) throw new WhisperGPTError("No key has such characters.", "wrong_key");
    this.server = new Server(location.origin, key);
    await this.listModels();
    sessionStorage.setItem(KEY, key); // for this tab alone
    this.page.say("The key fits.");
    this.page.focusOn("go", "record");
  }

  async chooseBundled(name: string): Promise<void> {
    const mine = this.begin();
    const prompt = await ChosenPrompt.read("bundled", await this.server.bundledPrompt(name), `${name}.flac`);
    if (!mine()) return;
    this.page.chooseModel(name);
    this.choose(prompt);
  }

  async chooseFile(file: File, of: number): Promise<void> {
    const mine = this.begin();
    this.page.say(`Reading ${shortened(file.name)} …`);
    const prompt = await ChosenPrompt.read("file", file, file.name);
    if (mine()) this.choose(prompt, of > 1 ? "One at a time: " : "");
  }

  /** Continue the prompt, or what is being recorded. */
  async go(): Promise<void> {
    if (this.recording) return this.recording.stop();
    const { prompt } = this;
    if (!prompt || !this.page.valid) return;
    await this.run(async (mine) => {
      await this.playback.open();
      if (!this.page.knowsModels) await this.listModels();
      if (!mine()) return;
      const lead = this.page.hearsPromptFirst ? prompt.samples?.subarray(-LEAD_SECONDS * SAMPLE_RATE) : null;
      await this.make(mine, prompt.blob, prompt, lead ?? new Float32Array(0));
    });
  }

  /** Record a prompt, sent while it is spoken; or end that, and continue. */
  async record(): Promise<void> {
    if (this.recording) return this.recording.stop();
    if (!this.page.valid) return;
    await this.run(async (mine) => {
      await this.playback.open();
      if (!this.page.knowsModels) await this.listModels();
      this.page.say("Allow the microphone, if the browser asks for it.");
      const recording = await Recording.start();
      if (!mine()) return recording.stop();
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
      } finally {
        if (this.recording === recording) this.keep(recording);
      }
    });
  }

  /** End what is going on. What was recorded stays, and can be continued. */
  stop(): void {
    if (this.phase === "idle") return;
    const recorded = this.recording !== null;
    this.begin();
    this.page.say(recorded && this.prompt ? "Recorded. Press Continue." : "Stopped.");
  }

  /** The same past, another future. */
  fork(): void {
    this.continuation?.fork(crypto.getRandomValues(new Uint32Array(1))[0]!);
  }

  /** Play the prompt, and what was made of it, from the start. */
  async listen(): Promise<void> {
    const { take, prompt } = this;
    const parts = take ? take.withPrompt() : prompt?.samples ? [prompt.samples] : [];
    if (parts.length === 0) return;
    await this.run(async (mine) => {
      await this.playback.open();
      if (!mine()) return;
      this.playback.start(take && !take.prompt?.samples ? this.picture.join * FRAME_SAMPLES : 0);
      for (const part of parts) this.playback.give(part);
      this.playback.finish();
      this.enter("listening");
      this.page.say(take ? `Prompt and continuation, from the start.${this.kept(take)}` : "The prompt.");
    });
  }

  download(): void {
    if (!this.take) return;
    save(this.take.wav(), "continuation.wav");
    this.page.say(`Saved.${this.kept(this.take)}`);
  }

  downloadWithPrompt(): void {
    if (!this.take) return;
    save(this.take.wavWithPrompt(), "prompt-and-continuation.wav");
    this.page.say(`Saved.${this.kept(this.take)}`);
  }

  async copySeed(): Promise<void> {
    await this.copy(String(this.take?.seed), "The seed is in the clipboard.");
  }

  async copyCurl(): Promise<void> {
    if (!this.take) return;
    const command = this.take.curl(location.origin, this.server.key !== null);
    await this.copy(command, "The command is in the clipboard.", this.take.difference);
  }

  useSeed(): void {
    this.page.seed.value = String(this.take?.seed);
  }

  private choose(prompt: ChosenPrompt, note = ""): void {
    if (prompt.refusal) throw new WhisperGPTError(prompt.refusal, "bad_prompt");
    [this.take, this.prompt] = [null, prompt];
    this.picture.begin(prompt.samples);
    this.page.showPrompt(prompt.shortName, prompt.name);
    this.enter("idle");
    const known = prompt.seconds === null ? "this browser cannot show it, but the server may know it." : `${prompt.seconds.toFixed(1)} s.`;
    this.page.say(`${note}${prompt.shortName}: ${known} Press Continue.`);
    this.page.focusOn("go");
  }

  /** Whatever went on is over, and something else may begin. */
  private begin(): Mine {
    this.continuation?.cancel();
    this.continuation = null;
    if (this.recording) this.keep(this.recording);
    this.playback.start(0);
    this.enter("idle");
    const turn = ++this.turn;
    return () => turn === this.turn;
  }

  /** Do this, unless something else comes. */
  private async run(act: (mine: Mine) => Promise<void>): Promise<void> {
    const mine = this.begin();
    this.enter("starting");
    try {
      await act(mine);
    } catch (error) {
      if (mine()) throw error;
    } finally {
      if (mine() && this.phase !== "listening") {
        this.continuation = null;
        // What came, even before it failed, is heard to its end.
        this.enter(this.phase === "making" && this.playback.begun ? "ending" : "idle");
      }
    }
  }

  private async make(mine: Mine, source: Prompt, prompt: ChosenPrompt | null, lead: Float32Array): Promise<void> {
    const take = new Take(this.page.wanted, prompt);
    this.coming = take;
    this.page.show("last_seed", "–");
    this.page.show("first_audio", "–");
    this.playback.start(this.picture.join * FRAME_SAMPLES - lead.length); // while one records, nobody knows yet
    this.reported = 0;
    if (lead.length) this.playback.give(lead);
    const continuation = this.continuationOf(mine, take, lead.length);
    this.continuation = continuation;
    this.enter(this.recording ? "recording" : "making");
    const done = await continuation.play(source, take.wanted).finally(() => mine() && this.playback.finish());
    if (!mine()) return;
    if (done.status === "failed") throw new WhisperGPTError("It failed on the server.", "failed");
    this.page.say(`All ${take.seconds.toFixed(2)} s are made; the last of them are still to be heard.`);
  }

  /** What was recorded is a prompt like any other now, whatever became of it. */
  private keep(recording: Recording): void {
    recording.stop();
    this.recording = null;
    if (recording.seconds === 0) return;
    const prompt = ChosenPrompt.recorded(recording);
    this.page.showPrompt(`recorded, ${recording.seconds.toFixed(1)} s`, "Save the recording", prompt);
    this.prompt = prompt.refusal ? null : prompt;
  }

  /** @param lead samples of the prompt that are heard first */
  private continuationOf(mine: Mine, take: Take, lead: number): Continuation {
    let sent = performance.now();
    /** `act`, if anybody still waits for it. */
    const ours = <T extends unknown[]>(act: (...told: T) => void) => (...told: T): void => void (mine() && act(...told));
    return new Continuation(this.server, {
      sent: ours(() => {
        sent = performance.now();
        if (this.recording) this.keep(this.recording);
        take.prompt ??= this.prompt;
        this.enter("making");
        this.page.say("Reading the prompt …");
      }),
      prompt: ours(() => {
        if (take.prompt?.kind !== "recording") this.picture.begin(take.prompt?.samples ?? null);
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
        if (!first) return;
        this.page.show("first_audio", `${Math.round(performance.now() - sent)} ms`);
        this.enter("making"); // there is something to save now
      }),
      refused: ours((error) => this.page.tell(error)),
      reconnecting: ours((_, left) =>
        this.page.say(`The connection was lost; trying to go on for ${Math.max(1, Math.round(left))} s more …`, "error"),
      ),
    });
  }

  private showPlayback({ buffered, played, underruns }: JitterReport, frame: number, over: boolean): void {
    this.page.show("buffer", `${Math.round(1000 * buffered)} ms`);
    this.page.show("underruns", String(underruns));
    if (played > 0) this.picture.markHeard(frame);
    if (over && (this.phase === "ending" || this.phase === "listening")) this.rest();
    if (played - this.reported < SAMPLE_RATE) return;
    this.reported = played;
    this.continuation?.report(Math.max(0, frame - this.picture.join) * FRAME_SAMPLES, underruns);
  }

  /** Nothing sounds any more. What went wrong stays said. */
  private rest(): void {
    const heard = this.phase === "ending" && this.take ? `Done: ${this.take.seconds.toFixed(2)} s.` : "Heard to the end.";
    this.enter("idle");
    if (element("status").dataset["kind"] !== "error") this.page.say(heard);
    void this.playback.rest();
  }

  private enter(phase: Phase): void {
    this.phase = phase;
    this.picture.showWhole(phase === "idle" || phase === "listening");
    const { prompt, take } = this;
    const audible = Boolean(prompt?.samples ?? take?.samples);
    this.page.enter(phase, { prompt: prompt !== null, audible, take: Boolean(take?.samples), seed: take?.seed != null });
  }

  /** What is to be said of a take that was longer than what is kept. */
  private kept(take: Take): string {
    return take.seconds > MOST_KEPT_SECONDS ? ` The first ${MOST_KEPT_SECONDS / 60} minutes are kept.` : "";
  }

  private async copy(text: string, done: string, more = ""): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.page.say(`${done} ${more}`.trim());
    } catch {
      this.page.say(`Copy this: ${text} ${more && `(${more})`}`.trim());
    }
  }
}
