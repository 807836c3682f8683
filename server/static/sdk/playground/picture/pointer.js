/** Seeking and cutting in the picture, with a mouse, a finger or keys. */
import { clock } from "./axes.js";
/** Seconds that a key moves the position by. */
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 };
const REACH = { mouse: 8, touch: 22 };
export function listenForPointer(picture, wishes) {
    const { canvas } = picture;
    let held = null;
    const reach = (event) => (event.pointerType === "mouse" ? REACH.mouse : REACH.touch);
    const move = (event, done) => {
        const second = picture.secondAt(event.clientX);
        if (held === "position")
            wishes.seek(Math.min(second, wishes.length()), done);
        else if (held)
            wishes.cut(held, second);
    };
    canvas.addEventListener("pointerdown", (event) => {
        if (event.button !== 0)
            return;
        held = picture.edgeAt(event.clientX, reach(event)) ?? "position";
        canvas.setPointerCapture(event.pointerId);
        move(event, false);
    });
    canvas.addEventListener("pointermove", (event) => {
        if (held)
            move(event, false);
        canvas.style.cursor = (held ?? picture.edgeAt(event.clientX, reach(event)) ?? "position") === "position" ? "" : "ew-resize";
    });
    for (const end of ["pointerup", "pointercancel"])
        canvas.addEventListener(end, (event) => {
            if (held)
                move(event, true);
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
