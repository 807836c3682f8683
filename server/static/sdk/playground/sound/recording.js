/** The microphone as a prompt: samples as they are spoken, until it is stopped or a minute is full. */
import { SAMPLE_RATE } from "../../events.js";
import { Microphone } from "../../microphone.js";
const MOST_SECONDS = 60;
export class Recording {
    microphone;
    /** Samples as they come. */
    onSamples = () => { };
    kept = [];
    sent = 0;
    samples = 0;
    over = false;
    wake = null;
    constructor(microphone) {
        this.microphone = microphone;
        microphone.onSamples = (samples) => {
            if (this.over)
                return;
            this.kept.push(samples);
            this.samples += samples.length;
            this.onSamples(samples);
            if (this.samples >= (MOST_SECONDS - 0.1) * SAMPLE_RATE)
                this.stop();
            this.wake?.();
        };
        microphone.onEnded = () => this.stop();
    }
    static async start() {
        return new Recording(await Microphone.open());
    }
    get seconds() {
        return this.samples / SAMPLE_RATE;
    }
    stop() {
        if (this.over)
            return;
        this.over = true;
        this.wake?.();
        void this.microphone.close();
    }
    /** All that was recorded. */
    all() {
        const all = new Float32Array(this.samples);
        let at = 0;
        for (const part of this.kept) {
            all.set(part, at);
            at += part.length;
        }
        return all;
    }
    async *[Symbol.asyncIterator]() {
        while (this.sent < this.kept.length || !this.over) {
            const samples = this.kept[this.sent];
            if (samples) {
                this.sent += 1;
                yield samples;
            }
            else
                await new Promise((resolve) => (this.wake = resolve));
        }
    }
}
