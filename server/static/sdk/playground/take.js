/** What one Continue made: its samples, and how to make them again. */
import { FRAME_SAMPLES, SAMPLE_RATE } from "../events.js";
import { promptPath } from "../server.js";
import { wavOf } from "./wav.js";
export const MOST_KEPT_SECONDS = 600;
export class Take {
    wanted;
    prompt;
    kept = [];
    /** Of all that came, kept or not. */
    samples = 0;
    /** That it began with; null until the server has said it. */
    seed = null;
    /** From which frames on it went another way. */
    forks = [];
    /** Whether sliders were moved while it was made. */
    changed = false;
    /** @param prompt null while it is being recorded */
    constructor(wanted, prompt) {
        this.wanted = wanted;
        this.prompt = prompt;
    }
    push(samples) {
        this.samples += samples.length;
        if (this.samples <= MOST_KEPT_SECONDS * SAMPLE_RATE)
            this.kept.push(samples);
    }
    get seconds() {
        return this.samples / SAMPLE_RATE;
    }
    /** Prompt and continuation one behind the other, as far as they are here. */
    withPrompt() {
        return this.prompt?.samples ? [this.prompt.samples, ...this.kept] : this.kept;
    }
    wav() {
        return wavOf(this.kept);
    }
    wavWithPrompt() {
        return wavOf(this.withPrompt());
    }
    /** The command that makes the same samples again, but for what `difference` says. */
    curl(origin, needsKey) {
        const { seconds: _, seed: __, ...fields } = this.wanted;
        const wanted = { ...fields, seconds: this.asked, ...(this.seed === null ? {} : { seed: this.seed }) };
        const form = Object.entries(wanted).map(([name, value]) => `-F ${name}=${String(value)}`);
        const key = needsKey ? ["-H 'Authorization: Bearer YOUR_KEY'"] : [];
        const bundled = this.prompt?.kind === "bundled";
        const name = this.prompt?.name ?? "recording.wav";
        const file = bundled ? `'audio=@-;filename=${name}'` : quoted(name);
        const command = ["curl --fail-with-body", ...key, "-F", file, ...form, "-o continuation.wav", `${origin}/continue`];
        const fetched = bundled ? `curl -s ${origin}${promptPath(name.replace(/\.flac$/, ""))} | ` : "";
        return fetched + command.join(" ");
    }
    /** What else it takes, and what was done while it played, which no command does. */
    get difference() {
        const saved = this.prompt?.kind === "recording" ? "Save the recording beside it: press its name. " : "";
        return saved + this.undone;
    }
    get undone() {
        if (this.forks.length)
            return `It makes the future before the fork at ${((this.forks[0] * FRAME_SAMPLES) / SAMPLE_RATE).toFixed(2)} s.`;
        return this.changed ? "It leaves out what the sliders did while it played." : "";
    }
    get asked() {
        return Math.min(MOST_KEPT_SECONDS, this.wanted.seconds ?? Math.max(1, Math.ceil(this.seconds)));
    }
}
/** A file's name as curl reads it within a form, as a shell reads that. */
function quoted(name) {
    const form = `audio=@"${name.replace(/["\\]/g, "\\$&")}"`;
    return `'${form.replaceAll("'", "'\\''")}'`;
}
