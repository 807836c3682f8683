/** Samples that grow at their end: a prompt, or a prompt and what is made of it. */
import { SAMPLE_RATE } from "../../events.js";
export class Track {
    parts = [];
    starts = [];
    samples = 0;
    /** Whether no more will come. */
    complete = false;
    /** A track that is complete. */
    static of(samples) {
        const track = new Track();
        track.push(samples);
        track.complete = true;
        return track;
    }
    get seconds() {
        return this.samples / SAMPLE_RATE;
    }
    push(samples) {
        if (samples.length === 0)
            return;
        this.starts.push(this.samples);
        this.parts.push(samples);
        this.samples += samples.length;
    }
    /** A copy of the samples from one up to another, as far as they are here. */
    read(from, to = this.samples) {
        const end = Math.min(to, this.samples);
        const out = new Float32Array(Math.max(0, end - from));
        for (let i = this.partAt(from); i < this.parts.length && this.starts[i] < end; i++) {
            const [start, part] = [this.starts[i], this.parts[i]];
            const first = Math.max(from, start);
            out.set(part.subarray(first - start, Math.min(end - start, part.length)), first - from);
        }
        return out;
    }
    /** The part that holds this sample. */
    partAt(sample) {
        let [low, high] = [0, this.parts.length - 1];
        while (low < high) {
            const middle = (low + high + 1) >> 1;
            if (this.starts[middle] <= sample)
                low = middle;
            else
                high = middle - 1;
        }
        return low;
    }
}
