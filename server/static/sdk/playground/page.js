/** The elements of the page, by their ids, and what stands in them. */
export function element(id) {
    const found = document.getElementById(id);
    if (!found)
        throw new Error(`the page has no #${id}`);
    return found;
}
const SLIDERS = ["temperature", "top_k", "top_p"];
export class Page {
    model = element("model");
    seconds = element("seconds");
    seed = element("seed");
    status = element("status");
    /** A slider was moved. */
    onSampling = () => { };
    constructor() {
        for (const name of SLIDERS)
            element(name).addEventListener("input", () => {
                this.showSliders();
                this.onSampling({ [name]: this.slider(name) });
            });
    }
    say(text, kind = "plain") {
        this.status.textContent = text;
        this.status.dataset["kind"] = kind;
    }
    show(id, text) {
        element(id).textContent = text;
    }
    /** What is to be made, as the fields say. */
    get wanted() {
        const seed = this.seed.value.trim();
        return {
            model: this.model.value,
            seconds: Number(this.seconds.value) || null,
            ...this.sampling,
            ...(seed === "" ? {} : { seed: Number(seed) }),
        };
    }
    get sampling() {
        return { temperature: this.slider("temperature"), top_k: this.slider("top_k"), top_p: this.slider("top_p") };
    }
    listModels(models) {
        const before = this.model.value;
        this.model.replaceChildren(...models.map((model) => new Option(model.id)));
        if (models.some((model) => model.id === before))
            this.model.value = before;
        const show = () => {
            const chosen = models.find((model) => model.id === this.model.value);
            for (const name of SLIDERS)
                element(name).value = String(chosen?.defaults[name] ?? 0);
            this.showSliders();
        };
        this.model.onchange = show;
        show();
    }
    slider(name) {
        return Number(element(name).value);
    }
    showSliders() {
        for (const name of SLIDERS) {
            const value = this.slider(name);
            this.show(`${name}_value`, name === "top_k" && value === 0 ? "all" : String(value));
        }
    }
}
