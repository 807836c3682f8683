/** The playground's buttons, keys and files, each wired to what it does. */
import { WhisperGPTError } from "../errors.js";
import { Controls } from "./controls.js";
import { element } from "./elements.js";
import { listenForFiles } from "./files.js";
import { Page } from "./page.js";
import { listenForPointer } from "./picture/pointer.js";
import { Playground } from "./playground.js";
import { listenForShortcuts } from "./shortcuts.js";
const page = new Page();
const playground = new Playground(page, new Controls(), (error) => page.tell(error));
/** Errors of a server that may answer soon. */
const WAITED_FOR = new Set(["unreachable", "starting"]);
/** Do it; what goes wrong is said on the page.
 * @param again what is offered then, where another try may help */
async function told(act, again = act) {
    try {
        await act();
    }
    catch (error) {
        const retry = () => void told(again);
        page.tell(error, retry);
        if (error instanceof WhisperGPTError && WAITED_FOR.has(error.code))
            await playground.waitForServer(retry, error.code === "starting");
    }
}
const go = () => told(() => playground.go(), () => playground.begin());
function onClick(button, act) {
    button.addEventListener("click", (event) => {
        if (event.detail < 2)
            void told(act); // else the second click of a double click would undo the first
    });
}
function onSubmit(id, act) {
    element(id).addEventListener("submit", (event) => {
        event.preventDefault();
        void told(act);
    });
}
onClick(element("go"), go);
onClick(element("record"), () => playground.record());
onClick(element("fork"), () => playground.fork());
onClick(element("play"), () => playground.play());
onSubmit("access", () => playground.unlock(element("key").value.trim()));
onSubmit("controls", () => element("go").click());
for (const button of document.querySelectorAll("[data-prompt]"))
    onClick(button, () => playground.chooseBundled(button.dataset["prompt"]));
for (const button of document.querySelectorAll("[data-hear]"))
    onClick(button, () => playground.hearBundled(button.dataset["hear"]));
listenForFiles(element("file"), element("stage"), (file, of) => void told(() => playground.chooseFile(file, of)));
listenForShortcuts({
    " ": () => void go(),
    escape: () => playground.stop(),
    f: () => void told(() => playground.fork()),
    r: () => void told(() => playground.record()),
    p: () => void told(() => playground.play()),
});
listenForPointer(playground.picture, {
    position: () => playground.second,
    length: () => playground.seconds,
    seek: (second, done) => playground.seek(second, done),
    cut: (edge, second) => playground.cut(edge, second),
});
page.onCut = (edge, second) => playground.cut(edge, second, true);
// Behind what the click is for: on Play it would be the press that pauses again.
for (const kind of ["click", "visibilitychange"])
    document.addEventListener(kind, () => playground.awaken());
addEventListener("hashchange", () => void told(() => playground.openLink()));
void told(async () => {
    await playground.listModels();
    await playground.greet();
});
addEventListener("beforeunload", (event) => {
    if (playground.losesTakes)
        event.preventDefault();
});
