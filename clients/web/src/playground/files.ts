/** Files that are chosen, or dropped anywhere on the page. */

export function listenForFiles(input: HTMLInputElement, stage: HTMLElement, chosen: (file: File, of: number) => void): void {
  const take = (files: FileList | null | undefined): void => {
    const file = files?.[0];
    if (file) chosen(file, files.length);
  };
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
  for (const kind of ["dragover", "dragleave", "drop"] as const)
    document.addEventListener(kind, (event) => {
      event.preventDefault(); // else the browser leaves the page for the file
      stage.classList.toggle("dropping", kind === "dragover");
      if (kind === "drop") take(event.dataTransfer?.files);
    });
}
