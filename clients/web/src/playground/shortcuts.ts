/** What can be done with one key. */

const WRITTEN_IN = "select, [type=number], [type=password]";
/** The space bar does that. */
const PRESSED = "button, a, [type=checkbox], [type=file]";

/**
 * @param keys for each key, in lower case, the ids of buttons of which the first that can be pressed is
 */
export function listenForShortcuts(keys: Record<string, string[]>): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // Held down, it would press whatever stands in the place of what it pressed.
    if (event.key === "Enter" && event.repeat) event.preventDefault();
    const within = event.target as HTMLElement;
    const key = event.key.toLowerCase();
    if (!(key in keys) || (key !== "escape" && within.closest(WRITTEN_IN))) return;
    if (key === " " && within.closest(PRESSED)) return;
    event.preventDefault(); // a key that is held down would scroll the page
    if (event.repeat) return;
    const buttons = keys[key]!.map((id) => document.getElementById(id) as HTMLButtonElement);
    buttons.find((button) => !button.disabled)?.click();
  });
}
