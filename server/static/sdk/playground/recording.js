/** The microphone as a prompt: samples as they are spoken, until it is stopped or a minute is full. */
import { SAMPLE_RATE } from "../events.js";
import { Microphone } from "../microphone.js";
const MOST_SECONDS = 60;
export class Recording {
    microphone;
    waiting = [];
    samples = 0;
    over = false;
    wake = null;
    constructor(microphone, heard) {
        this.microphone = microphone;
        microphone.onSamples = (samples) => {
            if (this.over)
                return;
            heard(samples);
            this.waiting.push(samples);
            this.samples += samples.length;
            if (this.samples >= (MOST_SECONDS - 0.1) * SAMPLE_RATE)
                this.stop();
            this.wake?.();
        };
    }
    /** Begin. `heard` gets the samples too. */
    static async start(heard) {
        return new Recording(await Microphone.open(), heard);
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
    async *[Symbol.asyncIterator]() {
        while (this.waiting.length || !this.over) {
            const samples = this.waiting.shift();
            if (samples)
                yield samples;
            else
                await new Promise((resolve) => (this.wake = resolve));
        }
    }
}
