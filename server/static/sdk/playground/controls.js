/** The fields that say how it goes on. */
import { element } from "./elements.js";
import { abilityOf } from "./models.js";
import { placeOf, topKAt } from "./top_k.js";
const SLIDERS = ["temperature", "top_k", "top_p"];
/** Windows so narrow that the settings are folded, as in playground.css. */
const NARROW = "(max-width: 52rem)";
/** Random seeds are below it, so that they can be read out. */
const SEEDS = 1_000_000;
export function randomSeed() {
    return crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;
}
export class Controls {
    /** A slider was moved. */
    onSampling = () => { };
    /** Any field was changed by hand. */
    onChange = () => { };
    /** Another model was chosen, by hand or for a prompt. */
    onModel = () => { };
    form = element("controls");
    model = element("model");
    seed = element("seed");
    seconds = element("seconds");
    promptFirst = element("prompt_first");
    settings = element("settings");
    models = [];
    /** The model that was chosen before they were listed. */
    chosenEarly = "";
    /** Values that a slider has no place for, such as those of a link; each until that slider is moved. */
    exact = {};
    /** The seconds of a link, which the field shows rounded; null once the field was changed. */
    exactSeconds = null;
    constructor() {
        this.form.addEventListener("input", () => this.onChange());
        for (const field of [this.seconds, this.seed])
            field.addEventListener("input", () => this.isValid(field));
        this.seconds.addEventListener("input", () => (this.exactSeconds = null));
        for (const name of SLIDERS)
            element(name).addEventListener("input", () => {
                delete this.exact[name];
                this.showSliders();
                this.onSampling({ [name]: this.slider(name) });
            });
        this.model.addEventListener("change", () => this.showModel());
        const narrow = matchMedia(NARROW);
        const fold = () => void (this.settings.open = !narrow.matches);
        narrow.addEventListener("change", fold);
        fold();
    }
    /** Whether all fields are as they may be; what is not says so, and has the focus. */
    get valid() {
        const wrong = [this.seconds, this.seed].filter((field) => !this.isValid(field));
        if (wrong.length > 0)
            this.settings.open = true;
        wrong[0]?.focus();
        return wrong.length === 0;
    }
    /** What is to be made, as the fields say; with another seed each time where they name none. */
    get wanted() {
        const seed = this.seed.value.trim();
        return {
            model: this.model.value,
            seconds: this.seconds.value === "" ? null : this.exactSeconds ?? Number(this.seconds.value),
            temperature: this.slider("temperature"),
            top_k: this.slider("top_k"),
            top_p: this.slider("top_p"),
            seed: seed === "" ? randomSeed() : Number(seed),
        };
    }
    get hearsPromptFirst() {
        return this.promptFirst.checked;
    }
    get knowsModels() {
        return this.models.length > 0;
    }
    listModels(models) {
        this.models = models;
        const before = this.model.value || this.chosenEarly;
        this.model.replaceChildren(...models.map(({ id }) => new Option(id)));
        if (models.some(({ id }) => id === before))
            this.model.value = before;
        this.showModel();
    }
    /** Choose this model, if the server has it; returns whether it has. */
    chooseModel(name) {
        if (this.models.length === 0)
            this.chosenEarly = name;
        if (!this.has(name))
            return false;
        if (this.model.value === name)
            return true;
        this.model.value = name;
        this.showModel();
        return true;
    }
    get modelId() {
        return this.model.value;
    }
    has(model) {
        return this.models.some(({ id }) => id === model);
    }
    /** Let takes begin with this seed; null for another one each time. */
    useSeed(seed) {
        this.seed.value = seed === null ? "" : String(seed);
    }
    /** Whether all takes begin with one seed. */
    get namesSeed() {
        return this.seed.value !== "";
    }
    /** Fill the fields with what was wanted once. */
    fill({ seconds, seed, temperature = 1, top_k = 0, top_p = 1 }) {
        this.seconds.value = seconds === null ? "" : String(Math.max(0.1, Math.round(10 * seconds) / 10));
        this.exactSeconds = seconds;
        this.seed.value = seed === undefined ? "" : String(seed);
        this.setSliders({ temperature, top_k, top_p });
    }
    showModel() {
        const chosen = this.models.find(({ id }) => id === this.model.value);
        element("ability").textContent = chosen ? abilityOf(chosen) : "";
        if (chosen)
            this.setSliders(chosen.defaults);
        this.onModel();
    }
    isValid(field) {
        const valid = field.checkValidity();
        element(`wrong_${field.id}`).textContent = valid ? "" : field.dataset["takes"];
        return valid;
    }
    setSliders(values) {
        this.exact = { ...values };
        for (const name of SLIDERS)
            element(name).value = String(name === "top_k" ? placeOf(values.top_k) : values[name]);
        this.showSliders();
    }
    slider(name) {
        const value = Number(element(name).value);
        return this.exact[name] ?? (name === "top_k" ? topKAt(value) : value);
    }
    showSliders() {
        for (const name of SLIDERS) {
            const value = this.slider(name);
            const text = name === "top_k" && value === 0 ? "all" : String(value);
            element(`${name}_value`).textContent = text;
            element(name).setAttribute("aria-valuetext", text);
        }
    }
}
