/** What stands on the page beside the picture, the takes and the fields: status, time, cut, and what can be pressed. */
import { WhisperGPTError } from "../errors.js";
import { element, enable } from "./elements.js";
import { clock } from "./picture/axes.js";
import { describePosition } from "./picture/pointer.js";
const KEY_TOLD = {
    no_key: "This server asks for a key; enter yours above.",
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
    say(text, kind = "plain") {
        this.status.textContent = text;
        this.status.dataset["kind"] = kind;
    }
    /** Say what went wrong; where a key is asked for, ask for it and for nothing else. */
    tell(error) {
        const ours = error instanceof WhisperGPTError ? error : null;
        if (!ours)
            console.error(error);
        const asked = ours && KEY_TOLD[ours.code];
        if (asked)
            this.lock(true);
        const again = ours?.retryAfter ? ` (again in ${ours.retryAfter} s)` : "";
        this.say((asked ?? error.message) + again, ours?.code === "no_key" ? "plain" : "error");
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
            element("key").focus();
    }
    show(id, text) {
        element(id).textContent = text;
    }
    /** The title of a bundled recording; empty if the page has none of this name. */
    titleOf(name) {
        return document.querySelector(`[data-prompt="${CSS.escape(name)}"]`)?.title ?? "";
    }
    /** Show which prompt is chosen.
     * @param bundled file of a bundled recording
     * @param saved what a recording is saved as, which is nowhere else */
    showPrompt(text, { title = "", bundled = "", saved = null } = {}) {
        const place = element("prompt_name");
        const before = place.querySelector("a");
        if (before)
            URL.revokeObjectURL(before.href);
        place.title = title;
        if (!saved)
            place.textContent = text;
        else {
            const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(saved.blob), download: saved.name });
            link.textContent = text;
            place.replaceChildren(link);
        }
        for (const button of document.querySelectorAll("[data-prompt]"))
            button.setAttribute("aria-pressed", String(`${button.dataset["prompt"]}.flac` === bundled));
        element("invitation").hidden = true;
    }
    /** Let the button of the bundled recording that is heard be Pause.
     * @param file that recording; null while none is heard */
    showHeard(file) {
        for (const button of document.querySelectorAll("[data-hear]")) {
            const heard = `${button.dataset["hear"]}.flac` === file;
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
    /** Let what can be done now be pressed, and nothing else. */
    enter({ phase, sounding, shownSounds, prompt, audible, forkable }) {
        const focused = document.activeElement;
        const stops = phase === "starting" || phase === "making" || (phase === "idle" && sounding);
        const main = element("go");
        main.textContent = stops ? "Stop" : "Continue";
        main.dataset["act"] = stops ? "stop" : "continue";
        enable("go", stops || prompt || phase === "recording");
        enable("record", phase !== "starting" && phase !== "making");
        this.show("record", phase === "recording" ? "Stop recording" : "Record");
        enable("play", audible && phase !== "recording");
        element("play").setAttribute("aria-label", shownSounds ? "Pause" : "Play");
        element("play").dataset["act"] = shownSounds ? "pause" : "play";
        enable("fork", forkable && phase !== "starting" && phase !== "recording");
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
