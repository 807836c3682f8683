/** What stands on the page beside the picture, the takes and the fields: status, time, cut, and what can be pressed. */
import { WhisperGPTError } from "../errors.js";
import { element, enable } from "./elements.js";
import { clock } from "./picture/axes.js";
import { describePosition } from "./picture/pointer.js";
import { LostTake } from "./takes/making.js";
const KEY_TOLD = {
    no_key: "", // the form says it
    wrong_key: "The key is not known here.",
};
export class Page {
    /** A field of the cut was changed by hand. */
    onCut = () => { };
    status = element("status");
    edges = { from: element("cut_from"), to: element("cut_to") };
    constructor() {
        for (const [edge, field] of Object.entries(this.edges))
            field.addEventListener("change", () => this.onCut(edge, Number(field.value)));
    }
    say(text, kind = "plain", remedy = null) {
        this.status.textContent = text;
        element("news").dataset["kind"] = this.status.dataset["kind"] = kind;
        const button = element("remedy");
        const focused = document.activeElement === button;
        button.hidden = remedy === null;
        button.textContent = remedy?.label ?? "";
        button.onclick = () => remedy?.act();
        if (focused && !remedy)
            this.focusOn("go");
    }
    /** What was said last. */
    get said() {
        return this.status.textContent ?? "";
    }
    /** Say what went wrong; where a key is asked for, ask for it and for nothing else.
     * @param again does what went wrong once more, which may help */
    tell(error, again = null) {
        const ours = error instanceof WhisperGPTError ? error : null;
        if (!ours)
            console.error(error);
        const asked = ours && KEY_TOLD[ours.code];
        if (asked !== null && asked !== undefined)
            this.lock(true);
        const later = ours?.retryAfter ? ` (again in ${ours.retryAfter} s)` : "";
        const lost = error instanceof LostTake ? error : null;
        const helps = lost ? !lost.ends : ours?.mayPass;
        const remedy = again && helps ? { label: lost ? "Start again" : "Try again", act: again } : null;
        this.say((asked ?? error.message) + later, ours?.code === "no_key" ? "plain" : "error", remedy);
    }
    /** Whether the last that was said is an error. */
    get saysError() {
        return this.status.dataset["kind"] === "error";
    }
    /** Show the field for a key and nothing else, or all but that. */
    lock(locked) {
        document.body.classList.toggle("locked", locked);
        element("access").hidden = !locked;
        if (locked)
            element("access").append(element("news"));
        else
            document.querySelector("#stage .screen").after(element("news"));
        if (locked)
            element("key").focus();
    }
    /** Show how loud the microphone is, from 0 to 1. */
    showLevel(peak) {
        element("record").style.setProperty("--level", String(Math.min(1, Math.sqrt(peak))));
    }
    /** Ask for a file in the picture; returns whether that is seen, which it is not where there is a prompt. */
    ask(told) {
        this.show("wanted", told);
        element("choose").hidden = false;
        return !element("invitation").hidden;
    }
    show(id, text) {
        element(id).textContent = text;
    }
    /** The title of a recording with a button; empty if the page has none of this name. */
    titleOf(name) {
        return document.querySelector(`[data-prompt="${CSS.escape(name)}"]`)?.title ?? "";
    }
    /** Show which prompt is chosen.
     * @param saved what a recording is saved as, which is nowhere else */
    showPrompt(text, { title = "", chip = "", saved = null } = {}) {
        const place = element("prompt_name");
        const before = place.querySelector("a");
        if (before)
            URL.revokeObjectURL(before.href);
        place.title = title;
        if (!saved)
            place.textContent = text;
        else {
            const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(saved.blob), download: saved.name });
            link.textContent = "Save";
            place.replaceChildren(`${text} · `, link);
        }
        for (const button of document.querySelectorAll("[data-prompt]"))
            button.setAttribute("aria-pressed", String(button.dataset["prompt"] === chip));
        element("invitation").hidden = true;
    }
    /** Show a file or a recording of the user's beside the bundled ones, in the place of the last of its kind.
     * @param audible whether this browser can play it */
    showOwn(kind, title, hear, choose, audible) {
        const place = element("own_chips");
        const template = element("own_chip").content.cloneNode(true);
        const [play, name] = template.querySelectorAll("button");
        Object.assign(play, { onclick: hear, disabled: !audible, ariaLabel: `Play ${title}` }).dataset["hear"] = kind;
        Object.assign(name, { onclick: choose, title, textContent: title }).dataset["prompt"] = kind;
        place.querySelector(`[data-hear="${kind}"]`)?.parentElement.remove();
        place.append(template);
    }
    /** Let the button of the recording that is heard be Pause.
     * @param chip its name, or the kind of the user's own; null while none is heard */
    showHeard(chip) {
        for (const button of document.querySelectorAll("[data-hear]")) {
            const heard = button.dataset["hear"] === chip;
            button.dataset["act"] = heard ? "pause" : "play";
            button.setAttribute("aria-label", `${heard ? "Pause" : "Play"} ${this.titleOf(button.dataset["hear"])}`);
        }
    }
    /** The fields of the cut; null where there is nothing to cut. */
    showCut(cut, seconds) {
        element("cut").hidden = cut === null;
        if (!cut)
            return;
        for (const [edge, field] of Object.entries(this.edges)) {
            field.max = seconds.toFixed(2);
            if (document.activeElement !== field || Number(field.value) !== cut[edge])
                field.value = cut[edge].toFixed(2);
        }
    }
    /** Where in what is shown one hears, or would. */
    showTime(position, length) {
        this.show("elapsed", clock(position));
        this.show("total", clock(length));
        describePosition(element("picture"), position, length);
    }
    /** Let a fork be pressed where there can be one.
     * @param goesOn whether it goes on behind the end */
    enterFork(forkable, goesOn) {
        const button = element("fork");
        if (element("fork").disabled === forkable)
            enable("fork", forkable);
        if (button.dataset["act"] === String(goesOn))
            return;
        button.dataset["act"] = String(goesOn);
        const here = Object.assign(document.createElement("span"), { className: "here", textContent: " here" });
        button.replaceChildren(...(goesOn ? ["Go on"] : ["Fork", here]));
        button.title = goesOn ? "Continue behind the end" : "Another continuation from where you hear it, within a take";
    }
    /** Let what can be done now be pressed, and nothing else. */
    enter({ phase, main, label, shownSounds, prompt, audible }) {
        const focused = document.activeElement;
        const button = element("go");
        if (button.textContent !== label)
            button.textContent = label;
        button.dataset["act"] = main;
        enable("go", main === "stop" || prompt || phase === "recording");
        element("live").hidden = phase !== "making" || main === "next";
        enable("record", phase !== "starting");
        this.show("record", phase === "recording" ? "Stop recording" : "Record");
        enable("play", audible && phase !== "recording");
        element("play").setAttribute("aria-label", shownSounds ? "Pause" : "Play");
        element("play").dataset["act"] = shownSounds ? "pause" : "play";
        element("stage").dataset["phase"] = phase;
        // Who works with keys goes on from the main button, where what was pressed cannot be pressed any more.
        if (focused instanceof HTMLButtonElement && focused.disabled)
            this.focusOn("go");
    }
    /** The first of these that can be pressed. */
    focusOn(...ids) {
        const first = ids.map((id) => element(id)).find((button) => !button.disabled);
        first?.focus({ preventScroll: true });
    }
}
