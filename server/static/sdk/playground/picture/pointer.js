/** Seeking and cutting in the picture, with a mouse, a finger or keys. */
import { clock } from "./axes.js";
/** Seconds that a key moves the position by. */
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 };
/** Pixels from an edge of the cut within which it is meant. */
const REACH = { mouse: 8, touch: 22 };
/** Pixels that a finger moves when it does not mean to. */
const STILL = 3;
export function listenForPointer(picture, wishes) {
    const { canvas } = picture;
    let held = null;
    let pressedAt = 0;
    const reach = (event) => (event.pointerType === "mouse" ? REACH.mouse : REACH.touch);
    const seek = (event, done) => wishes.seek(Math.min(picture.secondAt(event.clientX), wishes.length()), done);
    canvas.addEventListener("pointerdown", (event) => {
        if (event.button !== 0)
            return;
        [held, pressedAt] = [picture.edgeAt(event.clientX, reach(event)) ?? "position", event.clientX];
        canvas.setPointerCapture(event.pointerId);
        if (held === "position")
            seek(event, false);
    });
    canvas.addEventListener("pointermove", (event) => {
        canvas.style.cursor = (held ?? picture.edgeAt(event.clientX, reach(event)) ?? "position") === "position" ? "" : "ew-resize";
        if (held === "position")
            seek(event, false);
        else if (held && Math.abs(event.clientX - pressedAt) > STILL)
            wishes.cut(held, picture.secondAt(event.clientX));
    });
    for (const end of ["pointerup", "pointercancel"])
        canvas.addEventListener(end, (event) => {
            // One who presses beside an edge and moves nothing wants to hear it from there.
            if (held === "position" || (held && Math.abs(event.clientX - pressedAt) <= STILL))
                seek(event, true);
            held = null;
        });
    canvas.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey)
            return;
        const ends = { Home: 0, End: wishes.length() };
        const step = STEPS[event.key];
        const second = step === undefined ? ends[event.key] : wishes.position() + step;
        if (second === undefined)
            return;
        event.preventDefault();
        wishes.seek(Math.max(0, Math.min(wishes.length(), second)), true);
    });
}
/** Tell those who do not see the picture where it is. */
export function describePosition(canvas, position, length) {
    canvas.setAttribute("aria-valuemax", length.toFixed(1));
    canvas.setAttribute("aria-valuenow", position.toFixed(1));
    canvas.setAttribute("aria-valuetext", `${clock(position)} of ${clock(length)}`);
}
