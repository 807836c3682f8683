/** Seeking and cutting in the picture, with a mouse, a finger or keys. */

import type { Edge } from "../sound/cut.js";
import { clock } from "./axes.js";
import type { Picture } from "./picture.js";

/** Seconds that a key moves the position by. */
const STEPS: Record<string, number> = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 };
const REACH = { mouse: 8, touch: 22 };

/** What the picture asks for, all in seconds. */
export interface Wishes {
  position(): number;
  length(): number;
  /** @param done false while a finger still moves */
  seek(second: number, done: boolean): void;
  cut(edge: Edge, second: number): void;
}

export function listenForPointer(picture: Picture, wishes: Wishes): void {
  const { canvas } = picture;
  let held: Edge | "position" | null = null;
  const reach = (event: PointerEvent): number => (event.pointerType === "mouse" ? REACH.mouse : REACH.touch);
  const move = (event: PointerEvent, done: boolean): void => {
    const second = picture.secondAt(event.clientX);
    if (held === "position") wishes.seek(Math.min(second, wishes.length()), done);
    else if (held) wishes.cut(held, second);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    held = picture.edgeAt(event.clientX, reach(event)) ?? "position";
    canvas.setPointerCapture(event.pointerId);
    move(event, false);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (held) move(event, false);
    canvas.style.cursor = (held ?? picture.edgeAt(event.clientX, reach(event)) ?? "position") === "position" ? "" : "ew-resize";
  });
  for (const end of ["pointerup", "pointercancel"] as const)
    canvas.addEventListener(end, (event) => {
      if (held) move(event, true);
      held = null;
    });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const ends: Record<string, number> = { Home: 0, End: wishes.length() };
    const step = STEPS[event.key];
    const second = step === undefined ? ends[event.key] : wishes.position() + step;
    if (second === undefined) return;
    event.preventDefault();
    wishes.seek(Math.max(0, Math.min(wishes.length(), second)), true);
  });
}

/** Tell those who do not see the picture where it is. */
export function describePosition(canvas: HTMLCanvasElement, position: number, length: number): void {
  canvas.setAttribute("aria-valuemax", length.toFixed(1));
  canvas.setAttribute("aria-valuenow", position.toFixed(1));
  canvas.setAttribute("aria-valuetext", `${clock(position)} of ${clock(length)}`);
}
