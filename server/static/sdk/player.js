/** Plays samples as they come, through a jitter buffer in the audio thread. */
import { SAMPLE_RATE } from "./events.js";
import { insecure, unreachable, WhisperGPTError } from "./errors.js";
export class Player {
    context;
    node;
    /** How playback stands; told ten times a second. */
    onReport = () => { };
    /** Of what is heard. */
    analyser;
    resets = 0;
    constructor(context, node) {
        this.context = context;
        this.node = node;
        this.analyser = new AnalyserNode(context, { fftSize: 2048 });
        node.connect(this.analyser).connect(context.destination);
        node.port.onmessage = ({ data }) => {
            if (data.resets === this.resets)
                this.onReport(data);
        };
    }
    /** A player at the server's rate. To be called from a click or a key, or browsers keep it silent. */
    static async open() {
        const refused = insecure();
        if (refused)
            throw refused;
        if (typeof AudioWorkletNode === "undefined")
            throw new WhisperGPTError("This browser cannot play live audio; one from 2021 or later can (AudioWorklet).", "old_browser");
        const context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "interactive" });
        try {
            await context.audioWorklet.addModule(new URL("./player_worklet.js", import.meta.url));
        }
        catch {
            void context.close();
            throw unreachable(import.meta.url);
        }
        const node = new AudioWorkletNode(context, "whispergpt-player", { numberOfInputs: 0, outputChannelCount: [1] });
        return new Player(context, node);
    }
    /** Play these behind what is in hand. */
    push(samples) {
        this.tell(samples, [samples.buffer]);
    }
    /** No more will come. */
    finish() {
        this.tell("finish");
    }
    /** Forget what is in hand, and all that was counted. */
    reset() {
        this.resets += 1;
        this.tell("reset");
    }
    pause(paused) {
        this.tell(paused ? "pause" : "resume");
    }
    async close() {
        await this.context.close();
    }
    tell(order, moved = []) {
        this.node.port.postMessage(order, moved);
    }
}
