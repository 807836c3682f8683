/** The seconds of a recording that are used as a prompt. */
/** Seconds that a server takes as a prompt, at least and at most. */
export const SHORTEST_SECONDS = 0.5;
export const LONGEST_SECONDS = 60;
/** As much of the beginning as a server takes. */
export function firstCut(seconds) {
    return { from: 0, to: Math.min(seconds, LONGEST_SECONDS) };
}
/** The cut with one edge moved; the other one gives way where the cut would be too short or too long. */
export function movedCut(cut, edge, wanted, seconds) {
    if (edge === "from") {
        const from = within(wanted, 0, seconds - SHORTEST_SECONDS);
        return { from, to: within(cut.to, from + SHORTEST_SECONDS, Math.min(seconds, from + LONGEST_SECONDS)) };
    }
    const to = within(wanted, SHORTEST_SECONDS, seconds);
    return { from: within(cut.from, Math.max(0, to - LONGEST_SECONDS), to - SHORTEST_SECONDS), to };
}
/** Whether nothing is cut off. */
export function isWhole(cut, seconds) {
    return cut.from === 0 && cut.to === seconds;
}
function within(value, least, most) {
    return Math.max(least, Math.min(most, value));
}
