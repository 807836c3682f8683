/** The list of takes on the page, forks under their take. */

import { element } from "../elements.js";
import { clock } from "../picture/axes.js";
import { FRAME_RATE } from "../../events.js";
import type { Take } from "./take.js";

const ACTS = ["play", "show", "download", "download_all", "link", "curl", "source", "use_seed"] as const;
export type Act = (typeof ACTS)[number];

/** A space at which no line ends. */
const NO_BREAK = "\u00a0";
const ENDINGS = { making: "being made", whole: "", stopped: "stopped" } as const;

export class TakeList {
  private readonly rows = new Map<Take, HTMLElement>();

  constructor(private readonly onAct: (act: Act, take: Take) => void) {}

  /** Bring the list up to date. */
  update(takes: Take[], shown: Take | null, sounding: Take | null): void {
    for (const take of takes) this.fill(this.rows.get(take) ?? this.add(take), take, take === shown, take === sounding);
    element("takes").hidden = takes.length === 0;
  }

  private add(take: Take): HTMLElement {
    const template = element<HTMLTemplateElement>("take_row").content.cloneNode(true) as DocumentFragment;
    const row = template.querySelector("li")!;
    row.dataset["take"] = take.name;
    for (const act of ACTS) button(row, act).addEventListener("click", () => this.onAct(act, take));
    (take.parent ? this.rows.get(take.parent)!.querySelector("ol")! : element("take_list")).append(row);
    this.rows.set(take, row);
    return row;
  }

  private fill(row: HTMLElement, take: Take, shown: boolean, sounding: boolean): void {
    const name = `${take.parent ? "Fork" : "Take"} ${take.name}`;
    row.classList.toggle("shown", shown);
    row.classList.toggle("sounding", sounding);
    part(row, "name").textContent = name;
    part(row, "facts").textContent = facts(take);
    button(row, "show").setAttribute("aria-pressed", String(shown));
    button(row, "play").dataset["act"] = sounding ? "pause" : "play";
    button(row, "play").setAttribute("aria-label", `${sounding ? "Pause" : "Play"} ${name}`);
    button(row, "download").setAttribute("aria-label", `Download ${name}`);
    button(row, "link").setAttribute("aria-label", `Copy link to ${name}`);
    row.querySelector(":scope > .line summary")!.setAttribute("aria-label", `More for ${name}`);
    for (const act of ["download", "download_all"] as const) button(row, act).disabled = take.seconds === 0;
    for (const act of ["link", "curl", "source"] as const) button(row, act).disabled = take.state === "making";
  }
}

function facts(take: Take): string {
  const cut = take.prompt?.cut;
  const prompt = (take.prompt?.title ?? "recording") + (cut ? ` ${cut.from.toFixed(1)}–${cut.to.toFixed(1)} s` : "");
  const from = take.parent ? `from ${clock(take.forkedAt / FRAME_RATE)} of ${take.parent.name}` : prompt;
  const told = [`${take.seconds.toFixed(1)} s`, ENDINGS[take.state], from, take.wanted.model ?? "", `seed ${take.seed}`];
  return told.filter(Boolean).map((fact) => fact.replaceAll(" ", NO_BREAK)).join(" · ");
}

function button(row: HTMLElement, act: Act): HTMLButtonElement {
  return row.querySelector<HTMLButtonElement>(`:scope > .line [data-do=${act}]`)!;
}

function part(row: HTMLElement, name: string): HTMLElement {
  return row.querySelector<HTMLElement>(`:scope > .line .${name}`)!;
}
