"use strict";
/** The audio thread's side of the microphone: samples out, in pieces of a few frames. */
const PIECE = 960;
class Microphone extends AudioWorkletProcessor {
    piece = new Float32Array(PIECE);
    filled = 0;
    process(inputs) {
        const samples = inputs[0]?.[0] ?? new Float32Array(0);
        for (let at = 0; at < samples.length;) {
            const taken = Math.min(PIECE - this.filled, samples.length - at);
            this.piece.set(samples.subarray(at, at + taken), this.filled);
            this.filled += taken;
            at += taken;
            if (this.filled === PIECE) {
                this.port.postMessage(this.piece, [this.piece.buffer]);
                this.piece = new Float32Array(PIECE);
                this.filled = 0;
            }
        }
        return true;
    }
}
registerProcessor("whispergpt-microphone", Microphone);
