/** The elements of the page, by their ids. */
export function element(id) {
    const found = document.getElementById(id);
    if (!found)
        throw new Error(`the page has no #${id}`);
    return found;
}
/** Let it be pressed, or not. */
export function enable(id, enabled) {
    element(id).disabled = !enabled;
}
