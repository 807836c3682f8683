/** The picture of one track: its spectrogram with axes, what it consists of, where it is heard and how it is cut. */
import { FRAME_RATE, SAMPLE_RATE } from "../../events.js";
import { frequencyTicks, shownBands, shownSeconds, TimeAxis } from "./axes.js";
import { Mask } from "./mask.js";
const NOTHING = { track: { samples: 0, seconds: 0 }, stretches: [], seconds: 0, making: false, cut: null, marks: [] };
const LEAST_SECONDS = 2;
/** So much is seen at once while more is coming. */
const MOST_SECONDS = 90;
const [LEFT, RIGHT, TOP, BOTTOM] = [38, 20, 30, 22];
/** The height of the line of labels. */
const LABELS = 18;
/** Pixels between two seconds that have a label; fewer in a narrow picture. */
const WIDEST_GAP = 64;
const PAINT_MS = 8;
/** So much that is not drawn yet is said. */
const SLOW_SECONDS = 2;
const UNHEARD = 0.45;
const COLOURS = { prompt: "--prompt-sound", take: "--sound", fork: "--fork-sound", deep: "--deep-sound" };
export class Picture {
    canvas;
    /** The sample of the shown track that is heard, or would be. */
    head = () => 0;
    /** Whether playback stands at the end of what came, and waits for more. */
    waiting = false;
    masks = new WeakMap();
    brush;
    still = matchMedia("(prefers-reduced-motion: reduce)");
    view = NOTHING;
    axis = new TimeAxis(0, LEAST_SECONDS, LEFT, 1);
    drawnHead = 0;
    drawnWaiting = false;
    stale = true;
    constructor(canvas) {
        this.canvas = canvas;
        this.brush = canvas.getContext("2d");
        const turn = () => {
            requestAnimationFrame(turn);
            this.stale ||= this.mask.grow(PAINT_MS) || this.head() !== this.drawnHead || this.waiting !== this.drawnWaiting;
            this.keepUp();
        };
        const spoil = () => void (this.stale = true);
        new ResizeObserver(spoil).observe(canvas);
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", spoil);
        requestAnimationFrame(turn);
    }
    /** Whether it shows this track. */
    shows(track) {
        return this.view.track === track;
    }
    /** Show this, or nothing. */
    show(view) {
        this.view = view ?? NOTHING;
        this.stale = true;
    }
    /** The second of the track that stands there on the screen. */
    secondAt(clientX) {
        this.keepUp();
        return this.axis.secondAt(clientX - this.canvas.getBoundingClientRect().left);
    }
    /** The edge of the cut that stands there on the screen, or nearly. */
    edgeAt(clientX, reach) {
        const { cut } = this.view;
        if (!cut)
            return null;
        this.keepUp();
        const x = clientX - this.canvas.getBoundingClientRect().left;
        const [from, to] = [Math.abs(this.axis.xOf(cut.from) - x), Math.abs(this.axis.xOf(cut.to) - x)];
        if (Math.min(from, to) > reach)
            return null;
        return from < to ? "from" : "to";
    }
    get mask() {
        const { track } = this.view;
        let mask = this.masks.get(track);
        if (!mask)
            this.masks.set(track, (mask = new Mask(track)));
        return mask;
    }
    /** Draw what is not drawn yet, so that a place on the screen is one of what is shown now. */
    keepUp() {
        if (this.stale)
            this.draw();
    }
    draw() {
        this.stale = false;
        const { canvas, brush, view } = this;
        const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
        const [wide, high] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
        if (canvas.width !== wide || canvas.height !== high)
            [canvas.width, canvas.height] = [wide, high];
        brush.setTransform(wide / width, 0, 0, high / height, 0, 0);
        brush.clearRect(0, 0, width, height);
        if (view === NOTHING)
            return;
        [this.drawnHead, this.drawnWaiting] = [this.head(), this.waiting];
        const head = this.drawnHead / SAMPLE_RATE;
        const total = Math.max(LEAST_SECONDS, view.seconds, view.track.seconds);
        const { from, seconds } = shownSeconds(total, view.making ? head : null, MOST_SECONDS, this.still.matches);
        this.axis = new TimeAxis(from, seconds, LEFT, width - LEFT - RIGHT);
        const style = getComputedStyle(canvas);
        const colour = (name) => style.getPropertyValue(name);
        const bands = shownBands(this.mask.bands);
        this.drawSound(bands, height - TOP - BOTTOM, view.making ? head : null, colour);
        this.drawAxes(bands, width, height, colour);
        this.drawStretches(height, colour);
        this.drawNotes(height, colour);
        if (view.cut)
            this.drawCut(view.cut, height, colour);
        this.drawHead(head, height, colour("--now"));
    }
    /** @param heard the second up to which it was heard, where what follows is to be seen as not heard yet */
    drawSound(bands, height, heard, colour) {
        const { axis, brush, mask, view } = this;
        const end = Math.min(axis.from + axis.seconds, mask.columns / FRAME_RATE);
        brush.imageSmoothingQuality = "high";
        view.stretches.forEach((stretch, i) => {
            const first = Math.max(axis.from, stretch.from / SAMPLE_RATE);
            const last = Math.min(end, (view.stretches[i + 1]?.from ?? Infinity) / SAMPLE_RATE);
            const middle = heard === null || stretch.kind === "prompt" ? last : Math.max(first, Math.min(last, heard));
            for (const [from, to, opacity] of [[first, middle, 1], [middle, last, UNHEARD]]) {
                if (to <= from)
                    continue;
                const place = [axis.xOf(from), TOP, axis.xOf(to) - axis.xOf(from), height];
                brush.globalAlpha = opacity;
                mask.draw(brush, from * FRAME_RATE, to * FRAME_RATE, bands, ...place);
                brush.globalAlpha = 1;
                brush.globalCompositeOperation = "source-atop";
                brush.fillStyle = colour(COLOURS[stretch.kind]);
                brush.fillRect(...place);
                brush.globalCompositeOperation = "source-over";
            }
        });
    }
    drawAxes(bands, width, height, colour) {
        const { axis, brush } = this;
        const [bottom, tall] = [height - BOTTOM, height - TOP - BOTTOM];
        brush.font = "12px system-ui, sans-serif";
        brush.textBaseline = "middle";
        const line = (x, y, wide, high) => {
            brush.fillStyle = colour("--grid");
            brush.fillRect(x, y, wide, high);
            brush.fillStyle = colour("--faint");
        };
        brush.textAlign = "right";
        for (const { at, label } of frequencyTicks(bands)) {
            const y = bottom - (at / bands) * tall;
            line(LEFT, y, width - LEFT - RIGHT, 1);
            brush.fillText(label, LEFT - 7, y);
        }
        brush.fillStyle = colour("--faint");
        brush.fillText("kHz", LEFT - 7, LABELS / 2);
        brush.textAlign = "center";
        for (const { at, label } of axis.ticks(Math.min(WIDEST_GAP, width / 7))) {
            line(axis.xOf(at), bottom, 1, 4);
            brush.fillText(label, axis.xOf(at), bottom + BOTTOM / 2 + 3);
        }
        line(LEFT, bottom, width - LEFT - RIGHT, 1);
    }
    drawStretches(height, colour) {
        const { axis, brush, view } = this;
        brush.textAlign = "left";
        brush.font = "600 12px system-ui, sans-serif";
        view.stretches.forEach((stretch, i) => {
            const x = axis.xOf(stretch.from / SAMPLE_RATE);
            const next = view.stretches[i + 1];
            const room = axis.xOf(next ? next.from / SAMPLE_RATE : axis.from + axis.seconds) - Math.max(LEFT, x) - 16;
            brush.fillStyle = colour(COLOURS[stretch.kind]);
            if (room > brush.measureText(stretch.label).width)
                brush.fillText(stretch.label, Math.max(LEFT, x) + 9, LABELS / 2);
            if (stretch.from === 0 || x < LEFT)
                return;
            brush.fillStyle = colour("--join");
            brush.fillRect(x - 0.5, 4, 1, height - BOTTOM - 4);
        });
    }
    /** Draw where sliders were moved, and why nothing follows yet. */
    drawNotes(height, colour) {
        const { axis, brush, mask, view } = this;
        brush.fillStyle = colour("--text");
        for (const mark of view.marks) {
            const x = axis.xOf(mark / SAMPLE_RATE);
            if (x < LEFT)
                continue;
            brush.beginPath();
            for (const [across, down] of [[0, -5], [4, 0], [0, 5], [-4, 0]])
                brush.lineTo(x + across, TOP + 6 + down);
            brush.fill();
        }
        const drawn = mask.columns / FRAME_RATE;
        const behind = view.track.seconds - drawn > SLOW_SECONDS;
        const note = this.waiting ? "waiting for the server …" : behind ? "drawing …" : "";
        if (!note)
            return;
        brush.fillStyle = colour(this.waiting ? "--error" : "--faint");
        const x = axis.xOf(this.waiting ? view.track.seconds : drawn);
        const left = x + brush.measureText(note).width + 16 < axis.left + axis.width;
        brush.textAlign = left ? "left" : "right";
        brush.fillText(note, left ? x + 8 : x - 8, (TOP + height - BOTTOM) / 2);
    }
    drawCut(cut, height, colour) {
        const { axis, brush, view } = this;
        const bottom = height - BOTTOM;
        const [from, to, end] = [axis.xOf(cut.from), axis.xOf(cut.to), axis.xOf(view.track.seconds)];
        brush.globalAlpha = 0.75;
        brush.fillStyle = colour("--screen");
        brush.fillRect(LEFT, TOP, from - LEFT, bottom - TOP);
        brush.fillRect(to, TOP, end - to, bottom - TOP);
        brush.globalAlpha = 1;
        brush.fillStyle = colour("--text");
        for (const x of [from, to]) {
            brush.fillRect(x - 1, TOP, 2, bottom - TOP);
            brush.beginPath();
            brush.roundRect(x - 5, (TOP + bottom) / 2 - 18, 10, 36, 5);
            brush.fill();
        }
    }
    drawHead(head, height, colour) {
        const { axis, brush } = this;
        if (head < axis.from || head > axis.from + axis.seconds)
            return;
        const x = axis.xOf(head);
        brush.fillStyle = colour;
        brush.fillRect(x - 1, TOP - 6, 2, height - BOTTOM - TOP + 6);
        brush.beginPath();
        brush.moveTo(x - 6, LABELS);
        brush.lineTo(x + 6, LABELS);
        brush.lineTo(x, LABELS + 9);
        brush.fill();
    }
}
