/** The list of takes on the page, forks under their take. */
import { element } from "../elements.js";
import { clock } from "../picture/axes.js";
import { SAMPLE_RATE } from "../../events.js";
const ACTS = ["play", "show", "download", "download_all", "link", "curl", "source", "use_seed", "remove"];
/** A space at which no line ends. */
const NO_BREAK = "\u00a0";
const DEFAULTS = { temperature: 1, top_k: 0, top_p: 1 };
const ENDINGS = { making: "being made", whole: "", stopped: "stopped" };
export class TakeList {
    onAct;
    rows = new Map();
    constructor(onAct) {
        this.onAct = onAct;
    }
    /** Bring the list up to date. */
    update(takes, shown, sounding) {
        for (const [take, row] of this.rows)
            if (!takes.includes(take)) {
                row.remove();
                this.rows.delete(take);
            }
        for (const take of takes)
            this.fill(this.rows.get(take) ?? this.add(take), take, take === shown, take === sounding);
        element("takes").hidden = takes.length === 0;
    }
    add(take) {
        const template = element("take_row").content.cloneNode(true);
        const row = template.querySelector("li");
        row.dataset["take"] = take.name;
        for (const act of ACTS)
            button(row, act).addEventListener("click", () => this.onAct(act, take));
        this.rows.set(take, row);
        this.place(row, take);
        return row;
    }
    /** Put a row among its neighbours: takes with the newest first, forks with the oldest first. */
    place(row, take) {
        const list = take.parent ? this.rows.get(take.parent).querySelector("ol") : element("take_list");
        const number = (name) => Number(name.split(".").at(-1));
        const later = ({ dataset }) => number(dataset["take"]) > number(take.name);
        const next = [...list.children].find((one) => later(one) === (take.parent !== null));
        list.insertBefore(row, next ?? null);
    }
    fill(row, take, shown, sounding) {
        const name = `${take.parent ? "Fork" : "Take"} ${take.name}`;
        row.classList.toggle("shown", shown);
        row.classList.toggle("sounding", sounding);
        part(row, "name").textContent = name;
        row.dataset["kind"] = take.kind;
        part(row, "facts").textContent = facts(take);
        part(row, "details").textContent = details(take);
        button(row, "show").setAttribute("aria-pressed", String(shown));
        button(row, "play").dataset["act"] = sounding ? "pause" : "play";
        button(row, "play").setAttribute("aria-label", `${sounding ? "Pause" : "Play"} ${name}`);
        button(row, "remove").setAttribute("aria-label", `Remove ${name}`);
        button(row, "download").setAttribute("aria-label", `Download ${name}`);
        button(row, "link").setAttribute("aria-label", `Copy link to ${name}`);
        row.querySelector(":scope > .line summary").setAttribute("aria-label", `More for ${name}`);
        for (const act of ["download", "download_all"])
            button(row, act).disabled = take.seconds === 0;
        for (const act of ["link", "curl", "source"])
            button(row, act).disabled = take.state === "making";
    }
}
function facts(take) {
    const cut = take.prompt?.cut;
    const prompt = (take.prompt?.title ?? "recording") + (cut ? ` ${cut.from.toFixed(1)}–${cut.to.toFixed(1)} s` : "");
    const from = take.parent ? `from ${clock(take.join / SAMPLE_RATE)}` : prompt;
    const told = [from, `${take.seconds.toFixed(1)} s`, ENDINGS[take.state], `seed ${take.seed}`];
    for (const slider of ["temperature", "top_k", "top_p"]) {
        const values = valuesOf(take, slider);
        if (values.some((value) => value !== DEFAULTS[slider]))
            told.push(`${slider.replace("_", "-")} ${values.join(" → ")}`);
    }
    return joined(told);
}
/** What few ask for. */
function details(take) {
    const told = [`model ${take.wanted.model}`];
    if (take.firstAudio !== null)
        told.push(`first sound after ${Math.round(take.firstAudio)} ms`);
    told.push(take.buffered > 0 ? `${take.buffered.toFixed(1)} s buffered` : "", `${take.dropouts} ${take.dropouts === 1 ? "dropout" : "dropouts"}`);
    return joined(told);
}
/** The value of a slider at the take's beginning and, where it was moved since, at its end. */
function valuesOf(take, slider) {
    const first = take.wanted[slider] ?? DEFAULTS[slider];
    const last = take.moves.map(({ sampling }) => sampling[slider]).filter((value) => value !== undefined).at(-1) ?? first;
    return first === last ? [first] : [first, last];
}
function joined(told) {
    return told.filter(Boolean).map((fact) => fact.replaceAll(" ", NO_BREAK)).join(" · ");
}
function button(row, act) {
    return row.querySelector(`:scope > .line [data-do=${act}]`);
}
function part(row, name) {
    return row.querySelector(`:scope > .line .${name}`);
}
