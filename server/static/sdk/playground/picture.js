/** One scrolling picture of prompt and continuation: the join, forks, what is heard now and what is not heard yet. */
import { FRAME_RATE } from "../events.js";
import { palette } from "./palette.js";
import { BANDS, Spectrum } from "./spectrum.js";
/** More than a prompt and all of a take that is kept. */
const KEPT_FRAMES = 720 * FRAME_RATE;
/** So much is to be seen at once even on a phone: else the prompt is gone before its continuation is heard. */
const LEAST_FRAMES = 12 * FRAME_RATE;
const UNHEARD = 0.4;
export class Picture {
    canvas;
    spectrum = new Spectrum();
    columns = [];
    dropped = 0;
    joinedAt = null;
    forks = [];
    heard = null;
    whole = true;
    stale = true;
    colours;
    constructor(canvas) {
        this.canvas = canvas;
        const draw = () => {
            requestAnimationFrame(draw);
            if (this.stale)
                this.draw();
        };
        new ResizeObserver(() => (this.stale = true)).observe(canvas);
        this.colours = this.mixColours();
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
            this.colours = this.mixColours();
            this.stale = true;
        });
        requestAnimationFrame(draw);
    }
    /** The frame at which the continuation begins, counted from the prompt's first. */
    get join() {
        return this.joinedAt ?? this.frames;
    }
    /** Nothing but this prompt. */
    begin(prompt) {
        [this.spectrum, this.columns, this.dropped, this.joinedAt, this.heard] = [new Spectrum(), [], 0, null, null];
        this.forks = [];
        if (prompt)
            this.push(prompt);
        this.stale = true;
    }
    push(samples) {
        this.columns.push(...this.spectrum.push(samples));
        const over = this.columns.length - KEPT_FRAMES;
        if (over > 0) {
            this.columns.splice(0, over);
            this.dropped += over;
        }
        this.stale = true;
    }
    /** What comes from now on is the continuation. */
    markJoin() {
        this.joinedAt = this.frames;
        this.stale = true;
    }
    /** From this frame on, counted from the prompt's first, it goes another way. */
    markFork(frame) {
        this.forks.push(frame);
        this.stale = true;
    }
    /** This frame, counted from the prompt's first, is heard now. */
    markHeard(frame) {
        this.stale ||= frame !== this.heard;
        this.heard = frame;
    }
    /** Show all that there is, or what came last. */
    showWhole(whole) {
        this.stale ||= whole !== this.whole;
        this.whole = whole;
    }
    get frames() {
        return this.dropped + this.columns.length;
    }
    draw() {
        this.stale = false;
        const { canvas, columns, dropped } = this;
        const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
        if (canvas.width !== width || canvas.height !== BANDS)
            [canvas.width, canvas.height] = [width, BANDS];
        const shown = Math.max(canvas.clientWidth, LEAST_FRAMES, this.whole ? columns.length : 0);
        const first = Math.max(0, columns.length - shown);
        const scale = shown / width;
        const { prompt, sound, unheard } = this.colours;
        const colours = (frame) => {
            if (frame < (this.joinedAt ?? Infinity))
                return prompt;
            return frame <= (this.heard ?? -1) ? sound : unheard;
        };
        const brush = canvas.getContext("2d");
        const image = brush.createImageData(width, BANDS);
        const pixels = new Uint32Array(image.data.buffer);
        for (let x = 0; x < width; x++) {
            const from = first + Math.floor(x * scale);
            const to = Math.min(columns.length, Math.max(from + 1, first + Math.floor((x + 1) * scale)));
            if (from >= columns.length)
                break;
            const chosen = colours(dropped + from);
            for (let band = 0; band < BANDS; band++) {
                let loudest = 0;
                for (let column = from; column < to; column++)
                    loudest = Math.max(loudest, columns[column][band]);
                pixels[(BANDS - 1 - band) * width + x] = chosen[loudest];
            }
        }
        brush.putImageData(image, 0, 0);
        const style = getComputedStyle(canvas);
        const line = (frame, colour, dashed = false) => {
            const x = (frame - dropped - first) / scale;
            if (x < 0 || x >= width)
                return;
            brush.fillStyle = style.getPropertyValue(colour);
            for (let y = 0; y < BANDS; y += dashed ? 8 : BANDS)
                brush.fillRect(x, y, 2 * devicePixelRatio, dashed ? 4 : BANDS);
        };
        for (const fork of this.forks)
            line(fork, "--join", true);
        if (this.joinedAt !== null)
            line(this.joinedAt, "--join");
        if (this.heard !== null)
            line(this.heard, "--now");
    }
    mixColours() {
        const style = getComputedStyle(this.canvas);
        return {
            prompt: palette(style, "--prompt-sound"),
            sound: palette(style, "--sound"),
            unheard: palette(style, "--sound", UNHEARD),
        };
    }
}
