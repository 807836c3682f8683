/**
 * Samples between the network, where they come when they come, and the loudspeaker, which never waits.
 *
 * Playing starts once a target is there. Each time playback runs dry the target grows; where much more than the target has
 * been in hand for long, it shrinks again. Nothing is dropped and nothing stretched: a continuation is heard whole.
 */
const LEAST = 0.04;
const MOST = 1.5;
const GROWTH = 1.6;
const CALM_SECONDS = 10;
const SHRINKAGE = 0.8;
export class JitterBuffer {
    rate;
    parts = [];
    at = 0;
    samples = 0;
    target;
    calm = 0;
    played = 0;
    underruns = 0;
    dryAt = 0;
    playing = false;
    complete = false;
    /**
     * @param rate samples per second
     * @param start seconds in hand before the first sound
     */
    constructor(rate, start = 0.08) {
        this.rate = rate;
        this.target = start;
    }
    push(samples) {
        if (samples.length === 0)
            return;
        this.parts.push(samples);
        this.samples += samples.length;
    }
    /** No more samples will come: what is in hand is played out, and running dry then is no failure. */
    finish() {
        this.complete = true;
    }
    /** Fill `out` with the next samples, zeros where there are none. */
    pull(out) {
        if (!this.playing && this.samples > 0 && (this.complete || this.samples >= this.target * this.rate))
            this.playing = true;
        let filled = 0;
        while (this.playing && filled < out.length && this.parts.length > 0) {
            const part = this.parts[0];
            const taken = Math.min(out.length - filled, part.length - this.at);
            out.set(part.subarray(this.at, this.at + taken), filled);
            filled += taken;
            this.at += taken;
            if (this.at === part.length) {
                this.parts.shift();
                this.at = 0;
            }
        }
        out.fill(0, filled);
        this.samples -= filled;
        this.played += filled;
        if (this.playing && filled < out.length)
            this.ranDry();
        else if (this.playing)
            this.watch(out.length);
    }
    report() {
        const { target, played, underruns, dryAt, playing } = this;
        return { buffered: this.samples / this.rate, target, played, underruns, dryAt, playing };
    }
    ranDry() {
        this.playing = false;
        if (this.complete)
            return;
        this.underruns += 1;
        this.dryAt = this.played;
        this.calm = 0;
        this.target = Math.min(MOST, this.target * GROWTH);
    }
    watch(samples) {
        this.calm = this.samples > 2 * this.target * this.rate ? this.calm + samples : 0;
        if (this.calm < CALM_SECONDS * this.rate)
            return;
        this.calm = 0;
        this.target = Math.max(LEAST, this.target * SHRINKAGE);
    }
}
