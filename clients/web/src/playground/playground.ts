/** The playground: what each button and key does. */

import { WhisperGPTError } from "../errors.js";
import { SAMPLE_RATE } from "../events.js";
import { Server } from "../server.js";
import type { Controls } from "./controls.js";
import { Maker } from "./maker.js";
import type { Page } from "./page.js";
import type { Picture } from "./picture/picture.js";
import { Prompts } from "./prompts.js";
import type { Edge } from "./sound/cut.js";
import { Recording } from "./sound/recording.js";
import { Track } from "./sound/track.js";
import { noteOnLength, Stage } from "./stage.js";
import { State } from "./state.js";
import { Take } from "./takes/take.js";
import { keepOf } from "./takes/take_actions.js";
import type { Act } from "./takes/take_list.js";
import { Turns } from "./turns.js";

const KEY = "whispergpt-key";
/** The page's address without its last part; it may be below a path of a proxy. */
const BASE = new URL(".", location.href).href.replace(/\/$/, "");

export class Playground {
  private readonly state = new State();
  private readonly stage: Stage;
  private readonly turns: Turns;
  private readonly prompts: Prompts;
  private readonly maker: Maker;
  private server = new Server(BASE, sessionStorage.getItem(KEY));

  constructor(
    private readonly page: Page,
    private readonly controls: Controls,
    private readonly onError: (error: Error) => void,
  ) {
    const { state } = this;
    this.stage = new Stage(state, page, (act, take) => this.onAct(act, take));
    this.turns = new Turns(state, page, this.stage);
    this.prompts = new Prompts(state, page, controls, this.stage, this.turns);
    this.maker = new Maker(state, page, controls, this.stage, this.turns, () => this.server);
    controls.onSampling = (sampling) => state.making?.change(sampling);
    controls.onChange = () => (state.recipe = null);
  }

  get picture(): Picture {
    return this.stage.picture;
  }

  /** The second of what is shown that is heard, or would be. */
  get second(): number {
    return this.stage.position / SAMPLE_RATE;
  }

  /** Seconds of what is shown, as far as they are here. */
  get seconds(): number {
    return this.state.track?.seconds ?? 0;
  }

  async listModels(): Promise<void> {
    this.controls.listModels(await this.server.models());
    this.page.lock(false);
  }

  /** Prepare what the page's address says to make. */
  async openLink(): Promise<void> {
    await this.prompts.openLink(this.server);
  }

  async unlock(key: string): Promise<void> {
    if (!/^[\x21-\x7e]+$/.test(key)) throw new WhisperGPTError("No key has such characters.", "wrong_key");
    this.server = new Server(BASE, key);
    await this.listModels();
    sessionStorage.setItem(KEY, key); // for this tab alone
    this.page.say("The key fits.");
    this.page.focusOn("go", "record");
    await this.openLink();
  }

  async chooseBundled(name: string): Promise<void> {
    await this.prompts.chooseBundled(name, this.server);
  }

  /** Play a bundled recording from its start, or pause it. */
  async hearBundled(name: string): Promise<void> {
    await this.prompts.hearBundled(name, this.server);
  }

  async chooseFile(file: File, of: number): Promise<void> {
    await this.prompts.chooseFile(file, of);
  }

  /** Continue the prompt, or what is being recorded; or stop. */
  async go(): Promise<void> {
    const { recording, phase, prompt, recipe } = this.state;
    if (recording) return recording.stop();
    if (phase !== "idle" || this.stage.playback.playing) return this.stop();
    if (!prompt || !this.controls.valid) return;
    await this.turns.run(async (mine) => {
      await this.ready();
      if (!mine()) return;
      if (recipe) await this.maker.replay(mine, recipe, prompt);
      else await this.maker.continue(mine, prompt);
    });
  }

  /** Record a prompt, sent while it is spoken; or stop recording, and keep it. */
  async record(): Promise<void> {
    const { state } = this;
    if (state.recording) return this.stop();
    if (!this.controls.valid || state.phase !== "idle") return;
    this.stage.silence();
    await this.turns.run(async (mine) => {
      this.prompts.begin(false);
      await this.ready();
      this.page.say("Allow the microphone, if the browser asks for it.");
      const recording = await Recording.start();
      if (!mine()) return recording.stop();
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
      } finally {
        if (state.recording === recording) this.turns.keepRecording();
      }
    });
  }

  /** End what is going on. What was made or recorded stays. */
  stop(): void {
    const { phase, recording } = this.state;
    if (phase === "idle" && !this.stage.playback.playing) return;
    this.turns.end();
    this.stage.silence();
    this.page.say(recording && this.state.prompt ? "Recorded. Press Continue." : "Stopped.");
  }

  /** Continue what is shown in another way, from where it is heard. */
  async fork(): Promise<void> {
    const { shown } = this.state;
    if (shown && shown.seconds > 0 && this.controls.valid) await this.maker.fork(shown);
  }

  /** Play what is shown from where it was left, or pause it. */
  async play(): Promise<void> {
    await this.stage.play();
  }

  /** Go to a second of what is shown.
   * @param done false while a finger still moves */
  seek(second: number, done: boolean): void {
    this.stage.seek(second, done);
  }

  /** Move one end of what is used of the prompt. */
  cut(edge: Edge, second: number): void {
    this.prompts.cut(edge, second);
  }

  /** Let sound out that the browser held back until a click or a key. */
  awaken(): void {
    const { playback } = this.stage;
    if (playback.playing && playback.heldBack) void playback.open();
  }

  /** Resolves once the loudspeaker is open and the models are known. */
  private async ready(): Promise<void> {
    await this.stage.playback.open();
    if (!this.controls.knowsModels) await this.listModels();
  }

  private onAct(act: Act, take: Take): void {
    if (act === "show") return this.stage.show(take);
    if (act === "use_seed") return this.controls.useSeed(take.seed!);
    if (act === "play") {
      this.stage.show(take);
      return void this.play().catch(this.onError);
    }
    const more = act === "download" || act === "download_all" ? noteOnLength(take) : "";
    void keepOf(act, take, BASE, this.server.key !== null).then((told) => this.page.say(told + more), this.onError);
  }
}
