/** The playground: a prompt from a file, a bundled recording or the microphone, and its continuation, live. */

import { Continuation, type Prompt, type Wanted } from "../continuation.js";
import { WhisperGPTError } from "../errors.js";
import { FRAME_SAMPLES, SAMPLE_RATE } from "../events.js";
import type { JitterReport } from "../jitter.js";
import { Player } from "../player.js";
import { Server } from "../server.js";
import { element, Page } from "./page.js";
import { Picture } from "./picture.js";
import { Recording } from "./recording.js";
import { wavOf } from "./wav.js";

const KEY = "whispergpt-key";
const MOST_KEPT_SECONDS = 600;

class Playground {
  private readonly page = new Page();
  private readonly picture = new Picture(element<HTMLCanvasElement>("picture"));
  private server = new Server(location.origin, sessionStorage.getItem(KEY));
  private chosen: { blob: Blob; name: string } | null = null;
  private player: Player | null = null;
  private recording: Recording | null = null;
  private continuation: Continuation | null = null;
  private heard: Float32Array[] = [];
  private heardSamples = 0;
  private reported = 0;

  constructor() {
    this.page.onSampling = (sampling) => this.continuation?.change(sampling);
    this.onClick("go", () => this.go());
    this.onClick("record", () => this.record());
    this.onClick("stop", () => this.stop());
    this.onClick("fork", () => this.fork());
    this.onClick("download", () => this.download());
    this.onClick("copy_seed", () => this.copy(this.page.seed.placeholder, "The seed is in the clipboard."));
    this.onClick("copy_curl", () => this.copy(this.curl(), "The command is in the clipboard."));
    this.onClick("unlock", () => this.unlock());
    for (const button of document.querySelectorAll<HTMLButtonElement>("[data-prompt]"))
      button.addEventListener("click", () => this.told(() => this.chooseBundled(button)));
    this.listenForFiles();
    this.listenForKeys();
    this.told(() => this.listModels());
  }

  private async listModels(): Promise<void> {
    try {
      this.page.listModels(await this.server.models());
      element("access").hidden = true;
    } catch (error) {
      element("access").hidden = !(error instanceof WhisperGPTError && /_key$/.test(error.code));
      throw error;
    }
  }

  private async unlock(): Promise<void> {
    const key = element<HTMLInputElement>("key").value.trim();
    sessionStorage.setItem(KEY, key); // for this tab alone
    this.server = new Server(location.origin, key);
    await this.listModels();
    this.page.say("The key fits.");
  }

  private async chooseBundled(button: HTMLButtonElement): Promise<void> {
    const name = button.dataset["prompt"]!;
    const answer = await fetch(`/static/prompts/${name}.flac`);
    if (!answer.ok) throw new WhisperGPTError("That recording is not on this server.", "not_found");
    if ([...this.page.model.options].some((option) => option.value === name)) {
      this.page.model.value = name;
      this.page.model.dispatchEvent(new Event("change"));
    }
    await this.choose(await answer.blob(), `${name}.flac`);
  }

  private async choose(blob: Blob, name: string): Promise<void> {
    if (this.continuation) return;
    this.chosen = { blob, name };
    this.page.show("prompt_name", name);
    this.picture.clear();
    try {
      const decoded = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(await blob.arrayBuffer());
      this.picture.push(decoded.getChannelData(0));
      this.page.say(`${name}: ${decoded.duration.toFixed(1)} s. Press Continue.`);
    } catch {
      this.page.say(`${name}: this browser cannot show it, but the server may be able to continue it.`);
    }
  }

  private async go(): Promise<void> {
    if (!this.chosen) throw new WhisperGPTError("Choose or record something first.", "no_prompt");
    const { blob, name } = this.chosen;
    await this.openPlayer();
    if (this.picture.joined) await this.choose(blob, name);
    await this.play(blob);
  }

  private async record(): Promise<void> {
    if (this.recording) {
      this.recording.stop();
      return;
    }
    await this.openPlayer();
    this.picture.clear();
    this.recording = await Recording.start((samples) => {
      this.picture.push(samples);
      this.page.show("prompt_name", `recorded, ${this.recording?.seconds.toFixed(1)} s`);
    });
    this.chosen = null;
    element("record").textContent = "Stop recording and continue";
    this.page.say("Recording; what you say is on its way already.");
    try {
      await this.play(this.recording);
    } finally {
      this.recording.stop();
      this.recording = null;
      element("record").textContent = "Record";
    }
  }

  private async play(prompt: Prompt): Promise<void> {
    const wanted = this.page.wanted;
    [this.heard, this.heardSamples, this.reported] = [[], 0, 0];
    this.busy(true);
    this.player!.reset();
    this.continuation = this.makeContinuation();
    try {
      const done = await this.continuation.play(prompt, wanted);
      this.player!.finish();
      const seconds = ((done.frames * FRAME_SAMPLES) / SAMPLE_RATE).toFixed(2);
      this.page.say(done.status === "failed" ? "It failed on the server." : `${seconds} s, ${done.status}.`);
    } catch (error) {
      if (!this.continuation.cancelled) throw error;
      this.page.say("Stopped.");
    } finally {
      this.player!.finish();
      this.continuation = null;
      this.busy(false);
    }
  }

  private makeContinuation(): Continuation {
    let sent = performance.now();
    return new Continuation(this.server, {
      sent: () => {
        sent = performance.now();
        this.recording?.stop();
        this.page.say("Reading the prompt …");
      },
      prompt: () => this.picture.markJoin(),
      started: (seed) => {
        this.page.seed.placeholder = String(seed);
        this.page.say("Playing.");
      },
      forked: (seed) => {
        this.page.seed.placeholder = String(seed);
        this.page.say(`Another future, of seed ${seed}.`);
      },
      audio: (samples) => {
        if (this.heardSamples === 0) this.page.show("first_audio", `${Math.round(performance.now() - sent)} ms`);
        this.heardSamples += samples.length;
        if (this.heardSamples <= MOST_KEPT_SECONDS * SAMPLE_RATE) this.heard.push(samples.slice());
        this.picture.push(samples);
        this.player!.push(samples);
      },
      refused: (error) => this.page.say(error.message, "error"),
      reconnecting: () => this.page.say("The connection was lost; trying to go on …", "error"),
    });
  }

  private async openPlayer(): Promise<void> {
    this.player ??= await Player.open();
    await this.player.context.resume();
    this.player.onReport = (report) => this.showPlayback(report);
  }

  private showPlayback({ buffered, played, underruns }: JitterReport): void {
    this.page.show("buffer", `${Math.round(1000 * buffered)} ms`);
    this.page.show("underruns", String(underruns));
    this.picture.markHeard(Math.floor(played / FRAME_SAMPLES));
    if (!this.continuation) element<HTMLButtonElement>("stop").disabled = buffered === 0;
    if (played - this.reported < SAMPLE_RATE) return;
    this.reported = played;
    this.continuation?.report(played, underruns);
  }

  private stop(): void {
    this.continuation?.cancel();
    this.recording?.stop();
    this.player?.reset();
  }

  private fork(): void {
    this.continuation?.fork(crypto.getRandomValues(new Uint32Array(1))[0]!);
  }

  private download(): void {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(wavOf(this.heard));
    link.download = "continuation.wav";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  private async copy(text: string, done: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.page.say(done);
    } catch {
      this.page.say(text);
    }
  }

  /** The command that makes the same samples again. */
  private curl(): string {
    const wanted: Wanted = this.page.wanted;
    const seed = wanted.seed ?? (this.page.seed.placeholder === "random" ? undefined : this.page.seed.placeholder);
    const fields = { ...wanted, seed, seconds: wanted.seconds ?? 10 };
    const form = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [`-F ${name}=${value}`]));
    const key = this.server.key ? ["-H 'Authorization: Bearer YOUR_KEY'"] : [];
    const file = (this.chosen?.name ?? "prompt.wav").replaceAll("'", "'\\''");
    return ["curl", ...key, `-F 'audio=@${file}'`, ...form, "-o continuation.wav", `${location.origin}/continue`].join(" ");
  }

  private busy(playing: boolean): void {
    if (playing) element<HTMLButtonElement>("stop").disabled = false; // until all of it was heard
    element<HTMLButtonElement>("fork").disabled = !playing;
    for (const id of ["download", "copy_seed", "copy_curl"]) element<HTMLButtonElement>(id).disabled = playing;
    element<HTMLButtonElement>("go").disabled = playing;
    element<HTMLButtonElement>("record").disabled = playing && !this.recording;
  }

  private listenForFiles(): void {
    const input = element<HTMLInputElement>("file");
    input.addEventListener("change", () => this.told(() => this.chooseFile(input.files)));
    const stage = element("stage");
    for (const kind of ["dragover", "dragleave", "drop"] as const)
      stage.addEventListener(kind, (event) => {
        event.preventDefault();
        stage.classList.toggle("dropping", kind === "dragover");
        if (kind === "drop") this.told(() => this.chooseFile(event.dataTransfer?.files ?? null));
      });
  }

  private async chooseFile(files: FileList | null): Promise<void> {
    const file = files?.[0];
    if (file) await this.choose(file, file.name);
  }

  private listenForKeys(): void {
    const keys: Record<string, string> = { " ": "go", Escape: "stop", f: "fork", r: "record" };
    document.addEventListener("keydown", (event) => {
      const within = (event.target as HTMLElement).closest("input, select, button, a");
      const id = keys[event.key];
      if (!id || event.ctrlKey || event.metaKey || event.altKey || (within && event.key !== "Escape")) return;
      event.preventDefault();
      const playing = event.key === " " && this.continuation;
      element<HTMLButtonElement>(playing ? "stop" : id).click();
    });
  }

  private onClick(id: string, act: () => void | Promise<void>): void {
    element(id).addEventListener("click", () => this.told(act));
  }

  /** Do it; what goes wrong is said on the page. */
  private told(act: () => void | Promise<void>): void {
    Promise.resolve()
      .then(act)
      .catch((error: Error) => {
        if (!(error instanceof WhisperGPTError)) console.error(error);
        const again = error instanceof WhisperGPTError && error.retryAfter ? ` (again in ${error.retryAfter} s)` : "";
        this.page.say(error.message + again, "error");
      });
  }
}

new Playground();
