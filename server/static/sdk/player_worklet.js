/** The audio thread's side of the player. */
import { JitterBuffer } from "./jitter.js";
const REPORT_SECONDS = 0.1;
class Player extends AudioWorkletProcessor {
    buffer = new JitterBuffer(sampleRate);
    paused = false;
    unsaid = 0;
    resets = 0;
    constructor() {
        super();
        this.port.onmessage = ({ data }) => {
            if (data instanceof Float32Array)
                this.buffer.push(data);
            else if (data === "finish")
                this.buffer.finish();
            else if (data === "reset")
                this.reset();
            else
                this.paused = data === "pause";
        };
    }
    process(_inputs, outputs) {
        const out = outputs[0][0];
        if (this.paused)
            out.fill(0);
        else
            this.buffer.pull(out);
        this.unsaid += out.length;
        if (this.unsaid >= REPORT_SECONDS * sampleRate) {
            this.unsaid = 0;
            this.port.postMessage({ ...this.buffer.report(), resets: this.resets });
        }
        return true;
    }
    reset() {
        this.buffer = new JitterBuffer(sampleRate);
        this.resets += 1;
    }
}
registerProcessor("whispergpt-player", Player);
