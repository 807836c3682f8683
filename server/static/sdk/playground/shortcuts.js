/** What can be done with one key. */
import { element } from "./elements.js";
const WRITTEN_IN = "select, [type=number], [type=password]";
/** The space bar does that. */
const PRESSED = "button, a, summary, [type=checkbox], [type=file]";
/** @param keys what each key does, in lower case */
export function listenForShortcuts(keys) {
    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey)
            return;
        // Held down, it would press whatever its first press has brought.
        if (event.key === "Enter" && event.repeat)
            event.preventDefault();
        const within = event.target;
        const key = event.key.toLowerCase();
        if (!(key in keys) || (key !== "escape" && within.closest(WRITTEN_IN)))
            return;
        if (key === " " && within.closest(PRESSED))
            return;
        if (/^[a-z]$/.test(key) && !element("letters").checked)
            return;
        event.preventDefault(); // a key that is held down would scroll the page
        if (event.repeat)
            return;
        keys[key]();
    });
}
