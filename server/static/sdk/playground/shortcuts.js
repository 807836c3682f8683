/** What can be done with one key. */
const WRITTEN_IN = "select, [type=number], [type=password]";
/** The space bar does that. */
const PRESSED = "button, a, [type=checkbox], [type=file]";
/** @param act whether there was something to do: the key is then not the browser's */
export function listenForShortcuts(act) {
    document.addEventListener("keydown", (event) => {
        if (event.repeat || event.ctrlKey || event.metaKey || event.altKey)
            return;
        const within = event.target;
        const key = event.key.toLowerCase();
        if (key !== "escape" && within.closest(WRITTEN_IN))
            return;
        if (key === " " && within.closest(PRESSED))
            return;
        if (act(key))
            event.preventDefault();
    });
}
