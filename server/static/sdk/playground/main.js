/** The playground's buttons, keys and files, each wired to what it does. */
import { listenForFiles } from "./files.js";
import { element, Page } from "./page.js";
import { Playground } from "./playground.js";
import { listenForShortcuts } from "./shortcuts.js";
const page = new Page();
const playground = new Playground(page);
/** Do it; what goes wrong is said on the page. */
async function told(act) {
    try {
        await act();
    }
    catch (error) {
        page.tell(error);
    }
}
function onClick(id, act) {
    element(id).addEventListener("click", () => void told(act));
}
function onSubmit(id, act) {
    element(id).addEventListener("submit", (event) => {
        event.preventDefault();
        void told(act);
    });
}
onClick("go", () => playground.go());
onClick("record", () => playground.record());
onClick("stop", () => playground.stop());
onClick("fork", () => playground.fork());
onClick("listen", () => playground.listen());
onClick("download", () => playground.download());
onClick("download_all", () => playground.downloadWithPrompt());
onClick("copy_seed", () => playground.copySeed());
onClick("copy_curl", () => playground.copyCurl());
onClick("use_seed", () => playground.useSeed());
onSubmit("access", () => playground.unlock(element("key").value.trim()));
onSubmit("controls", () => element("go").click());
for (const button of document.querySelectorAll("[data-prompt]"))
    button.addEventListener("click", () => void told(() => playground.chooseBundled(button.dataset["prompt"])));
listenForFiles(element("file"), element("stage"), (file, of) => void told(() => playground.chooseFile(file, of)));
listenForShortcuts({ " ": ["go", "stop"], escape: ["stop"], f: ["fork"], r: ["record"], l: ["listen"] });
void told(() => playground.listModels());
