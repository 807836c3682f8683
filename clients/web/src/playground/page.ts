/** The elements of the page, by their ids, and what stands in them. */

import type { Wanted } from "../continuation.js";
import { WhisperGPTError } from "../errors.js";
import type { Sampling } from "../events.js";
import type { Model } from "../server.js";

export function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/**
 * What the page is at: nothing; opening the loudspeaker or asking for the microphone; recording; making sound; playing
 * the rest of what was made; playing all of it again.
 */
export type Phase = "idle" | "starting" | "recording" | "making" | "ending" | "listening";

/** What there is to do something with. */
export interface AtHand {
  prompt: boolean;
  audible: boolean;
  take: boolean;
  seed: boolean;
}

const KEY_TOLD: Record<string, string> = {
  no_key: "This server asks for a key; enter yours above.",
  wrong_key: "The key is not known here.",
};
const SLIDERS = ["temperature", "top_k", "top_p"] as const;

export class Page {
  readonly model = element<HTMLSelectElement>("model");
  readonly seed = element<HTMLInputElement>("seed");
  private readonly seconds = element<HTMLInputElement>("seconds");
  private readonly promptFirst = element<HTMLInputElement>("prompt_first");
  private readonly controls = element<HTMLFormElement>("controls");
  private readonly status = element("status");
  /** A slider was moved. */
  onSampling: (sampling: Sampling) => void = () => {};

  constructor() {
    for (const name of SLIDERS)
      element<HTMLInputElement>(name).addEventListener("input", () => {
        this.showSliders();
        this.onSampling({ [name]: this.slider(name) });
      });
  }

  say(text: string, kind: "plain" | "error" = "plain"): void {
    this.status.textContent = text;
    this.status.dataset["kind"] = kind;
  }

  /** Say what went wrong; where a key is asked for, ask for it. */
  tell(error: Error): void {
    const ours = error instanceof WhisperGPTError ? error : null;
    if (!ours) console.error(error);
    const asked = ours && KEY_TOLD[ours.code];
    if (asked) {
      element("access").hidden = false;
      element("key").focus();
    }
    const again = ours?.retryAfter ? ` (again in ${ours.retryAfter} s)` : "";
    this.say((asked ?? error.message) + again, ours?.code === "no_key" ? "plain" : "error");
  }

  show(id: string, text: string): void {
    element(id).textContent = text;
  }

  /** Where the prompt's name stands; a link to what was recorded, which is nowhere else. */
  showPrompt(text: string, title = "", saved: { blob: Blob; name: string } | null = null): void {
    const place = element("prompt_name");
    const before = place.querySelector("a");
    if (before) URL.revokeObjectURL(before.href);
    place.title = title;
    if (!saved) place.textContent = text;
    else {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(saved.blob), download: saved.name });
      link.textContent = text;
      place.replaceChildren(link);
    }
    element("invitation").hidden = true;
  }

  /** Whether all fields are as they may be; the browser says which is not. */
  get valid(): boolean {
    return this.controls.reportValidity();
  }

  /** What is to be made, as the fields say. */
  get wanted(): Wanted {
    const seed = this.seed.value.trim();
    return {
      model: this.model.value,
      seconds: this.seconds.value === "" ? null : Number(this.seconds.value),
      temperature: this.slider("temperature"),
      top_k: this.slider("top_k"),
      top_p: this.slider("top_p"),
      ...(seed === "" ? {} : { seed: Number(seed) }),
    };
  }

  get hearsPromptFirst(): boolean {
    return this.promptFirst.checked;
  }

  get knowsModels(): boolean {
    return this.model.options.length > 0;
  }

  listModels(models: Model[]): void {
    element("access").hidden = true;
    const before = this.model.value;
    this.model.replaceChildren(...models.map((model) => new Option(model.id)));
    if (models.some((model) => model.id === before)) this.model.value = before;
    const show = (): void => {
      const chosen = models.find((model) => model.id === this.model.value);
      for (const name of SLIDERS) element<HTMLInputElement>(name).value = String(chosen?.defaults[name] ?? 0);
      this.showSliders();
    };
    this.model.onchange = show;
    show();
  }

  /** Choose this model, if the server has it. */
  chooseModel(name: string): void {
    if (![...this.model.options].some((option) => option.value === name)) return;
    this.model.value = name;
    this.model.dispatchEvent(new Event("change"));
  }

  /** Let what can be done now be pressed, and nothing else. */
  enter(phase: Phase, { prompt, audible, take, seed }: AtHand): void {
    const quiet = phase === "idle" || phase === "ending" || phase === "listening";
    const focused = document.activeElement;
    this.enable("go", (quiet && prompt) || phase === "recording");
    this.enable("record", quiet || phase === "recording");
    this.enable("stop", phase !== "idle");
    this.enable("fork", phase === "making");
    this.enable("listen", phase !== "listening" && quiet && audible);
    for (const id of ["download", "download_all"]) this.enable(id, take);
    for (const id of ["copy_seed", "copy_curl", "use_seed"]) this.enable(id, seed);
    for (const field of [this.model, this.seconds, this.seed, this.promptFirst]) field.disabled = !quiet;
    this.show("record", phase === "recording" ? "Stop and continue" : "Record");
    element("stage").dataset["phase"] = phase;
    // Who works with keys goes on from what stands in the place of what was pressed.
    if (focused instanceof HTMLButtonElement && focused.disabled) this.focusOn("stop", "go");
  }

  /** The first of these that can be pressed. */
  focusOn(...ids: string[]): void {
    const first = ids.map((id) => element<HTMLButtonElement>(id)).find((button) => !button.disabled);
    first?.focus({ preventScroll: true });
  }

  private enable(id: string, enabled: boolean): void {
    element<HTMLButtonElement>(id).disabled = !enabled;
  }

  private slider(name: (typeof SLIDERS)[number]): number {
    return Number(element<HTMLInputElement>(name).value);
  }

  private showSliders(): void {
    for (const name of SLIDERS) {
      const value = this.slider(name);
      const text = name === "top_k" && value === 0 ? "all" : String(value);
      this.show(`${name}_value`, text);
      element(name).setAttribute("aria-valuetext", text);
    }
  }
}
