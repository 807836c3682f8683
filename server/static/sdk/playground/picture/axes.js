/** The axes of the picture: seconds from left to right, frequencies from below to above. */
import { bandOf, HIGHEST_HZ } from "./spectrum.js";
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300];
const FREQUENCIES = [100, 200, 500, 1_000, 2_000, 5_000, 10_000];
/** Which seconds stand where. */
export class TimeAxis {
    from;
    seconds;
    left;
    width;
    /**
     * @param from the first second
     * @param seconds that are to be seen
     * @param left where the first one stands
     * @param width of all of them
     */
    constructor(from, seconds, left, width) {
        this.from = from;
        this.seconds = seconds;
        this.left = left;
        this.width = width;
    }
    xOf(second) {
        return this.left + ((second - this.from) / this.seconds) * this.width;
    }
    secondAt(x) {
        const share = Math.max(0, Math.min(1, (x - this.left) / this.width));
        return this.from + share * this.seconds;
    }
    /** Round seconds, at least so far from each other, as seconds or, from a minute on, as minutes and seconds. */
    ticks(gap) {
        const least = (gap / this.width) * this.seconds;
        const step = STEPS.find((one) => one >= least) ?? 600;
        const ticks = [];
        for (let i = Math.ceil(this.from / step); i * step <= this.from + this.seconds + 1e-9; i++)
            ticks.push({ at: i * step, label: this.from + this.seconds > 60 ? clock(i * step, 0) : `${(i * step).toFixed(step < 1 ? 1 : 0)} s` });
        return ticks;
    }
}
/** Frequencies below that of the last band, in kHz, each at its band. */
export function frequencyTicks(bands) {
    const ticks = FREQUENCIES.map((hertz) => ({ at: bandOf(hertz), label: String(hertz / 1_000) }));
    return ticks.filter(({ at }) => at < bands - 4);
}
/** As many bands as hold what sounds, and at least those up to 4 kHz. */
export function shownBands(sounding) {
    return Math.min(bandOf(HIGHEST_HZ), Math.max(Math.ceil(bandOf(4_000)), sounding + 3));
}
/** The seconds to be seen: all of them, or the last ones where more are still being made.
 * @param paged whether they change half a view at a time instead of moving */
export function shownSeconds(total, following, most, paged = false) {
    if (following === null || total <= most)
        return { from: 0, seconds: total };
    const from = paged ? (most / 2) * Math.max(0, Math.floor((2 * following) / most - 1)) : following - 0.8 * most;
    return { from: Math.max(0, Math.min(total - most, from)), seconds: most };
}
/** Seconds as minutes and seconds. */
export function clock(seconds, digits = 1) {
    const unit = 10 ** digits;
    const units = Math.round(seconds * unit);
    const rest = ((units % (60 * unit)) / unit).toFixed(digits);
    return `${Math.floor(units / (60 * unit))}:${rest.padStart(digits ? digits + 3 : 2, "0")}`;
}
