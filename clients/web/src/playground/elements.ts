/** The elements of the page, by their ids. */

export function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** Let it be pressed, or not. */
export function enable(id: string, enabled: boolean): void {
  element<HTMLButtonElement>(id).disabled = !enabled;
}
