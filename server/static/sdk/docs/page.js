/** The page `/docs`: Swagger UI over `/openapi.json`, with the examples that each call has in the schema. */
const EXAMPLE_ORIGIN = "http://127.0.0.1:8000";
/** The page's address without its last part; it may be below a path of a proxy. */
const BASE = new URL(".", location.href).href.replace(/\/$/, "");
/**
 * Returns a plug-in that puts the examples of a call before its responses, and plays the audio of an answer. Swagger UI's
 * own player would ask for the address again, by GET.
 */
function examplesAndAudio(schema) {
    return ({ React: react }) => {
        const shown = (each) => react.createElement("details", { key: each.label }, react.createElement("summary", null, `Example in ${each.label}`), react.createElement("pre", { className: "microlight" }, each.source.replaceAll(EXAMPLE_ORIGIN, BASE)));
        const responses = (original) => (properties) => {
            const examples = schema.paths[properties.path]?.[properties.method]?.["x-codeSamples"] ?? [];
            return react.createElement("div", null, react.createElement("div", { className: "examples" }, ...examples.map(shown)), react.createElement(original, properties));
        };
        const audio = (original) => (properties) => {
            const { content, contentType } = properties;
            const sound = content instanceof Blob && contentType.startsWith("audio/");
            const address = react.useMemo(() => sound ? URL.createObjectURL(content) : "", [content]);
            if (!sound)
                return react.createElement(original, properties);
            const name = `continuation.${contentType.slice("audio/".length).replace("mpeg", "mp3")}`;
            return react.createElement("div", { className: "sound" }, react.createElement("audio", { controls: true, src: address }), react.createElement("a", { href: address, download: name }, "Download"));
        };
        return { wrapComponents: { responses, responseBody: audio } };
    };
}
/** Fold the WebSocket's messages, which are many, so that the calls are in sight; once they are drawn. */
function foldMessages(_, observer) {
    const heading = document.querySelector(".info .renderedMarkdown h2");
    if (!heading)
        return;
    observer.disconnect();
    const details = Object.assign(document.createElement("details"), { className: "more" });
    const summary = Object.assign(document.createElement("summary"), { textContent: heading.textContent });
    heading.before(details);
    heading.remove();
    details.append(summary);
    while (details.nextSibling)
        details.append(details.nextSibling);
}
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = () => void document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", colour);
colour();
const schema = await (await fetch("openapi.json")).json();
const form = schema.components.schemas.ContinueForm;
for (const [name, field] of Object.entries(form.properties)) {
    // Swagger UI would fill optional fields with made-up values; the server takes an empty field as left out.
    if (!("default" in field) && !form.required.includes(name))
        field.examples = [""];
}
if (BASE !== location.origin)
    schema.servers = [{ url: BASE }];
new MutationObserver(foldMessages).observe(document.getElementById("api"), { childList: true, subtree: true });
SwaggerUIBundle({
    spec: schema,
    dom_id: "#api",
    deepLinking: true,
    displayRequestDuration: true,
    plugins: [examplesAndAudio(schema)],
    validatorUrl: null,
});
export {};
