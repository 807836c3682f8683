/** The elements of the page, by their ids, and what stands in them. */

import type { Sampling } from "../events.js";
import type { Model } from "../server.js";
import type { Wanted } from "../continuation.js";

export function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

const SLIDERS = ["temperature", "top_k", "top_p"] as const;

export class Page {
  readonly model = element<HTMLSelectElement>("model");
  readonly seconds = element<HTMLInputElement>("seconds");
  readonly seed = element<HTMLInputElement>("seed");
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

  show(id: string, text: string): void {
    element(id).textContent = text;
  }

  /** What is to be made, as the fields say. */
  get wanted(): Wanted {
    const seed = this.seed.value.trim();
    return {
      model: this.model.value,
      seconds: Number(this.seconds.value) || null,
      ...this.sampling,
      ...(seed === "" ? {} : { seed: Number(seed) }),
    };
  }

  get sampling(): Required<Sampling> {
    return { temperature: this.slider("temperature"), top_k: this.slider("top_k"), top_p: this.slider("top_p") };
  }

  listModels(models: Model[]): void {
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

  private slider(name: (typeof SLIDERS)[number]): number {
    return Number(element<HTMLInputElement>(name).value);
  }

  private showSliders(): void {
    for (const name of SLIDERS) {
      const value = this.slider(name);
      this.show(`${name}_value`, name === "top_k" && value === 0 ? "all" : String(value));
    }
  }
}
