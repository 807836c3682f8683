"""Examples of each HTTP call in curl, Python and JavaScript, which the page ``/docs`` shows."""

from __future__ import annotations

from dataclasses import dataclass

ORIGIN = "http://127.0.0.1:8000"
"""Address in the examples; the page replaces it with its own."""


@dataclass(frozen=True)
class Call:
    """One call of the interface.

    Attributes:
        method, path: the path with its query.
        keyed: whether the call needs a key.
        fields: text fields of a form, sent with the file prompt.wav; None sends no body.
        answer: what comes back: JSON, text, or the name of a file to write.
    """

    method: str
    path: str
    keyed: bool
    fields: dict[str, str] | None = None
    answer: str = "json"

    @property
    def url(self) -> str:
        return ORIGIN + self.path

    @property
    def saves(self) -> bool:
        """Return whether the answer is a file."""
        return self.answer not in ("json", "text")


def call_examples(call: Call) -> list[dict[str, str]]:
    """Return the examples of one call, in the form of the OpenAPI extension ``x-codeSamples``."""
    sources = {"curl": ("Shell", _curl(call)), "Python": ("Python", _python(call))}
    sources["JavaScript"] = ("JavaScript", _javascript(call))
    return [{"lang": lang, "label": label, "source": source} for label, (lang, source) in sources.items()]


def _curl(call: Call) -> str:
    parts = ["curl --fail-with-body"]
    if call.method == "POST" and call.fields is None:
        parts.append("-X POST")
    if call.keyed:
        parts.append('-H "Authorization: Bearer KEY"')
    if call.fields is not None:
        parts += ["-F audio=@prompt.wav", *(f"-F {name}={value}" for name, value in call.fields.items())]
    if call.saves:
        parts.append(f"-o {call.answer}")
    return " \\\n  ".join([*parts, f'"{call.url}"'])


def _python(call: Call) -> str:
    arguments = [f'"{call.url}"']
    if call.keyed:
        arguments.append('headers={"Authorization": "Bearer KEY"}')
    if call.fields is not None:
        fields = ", ".join(f'"{name}": "{value}"' for name, value in call.fields.items())
        arguments += ['files={"audio": open("prompt.wav", "rb")}', f"data={{{fields}}}"]
    arguments.append("timeout=60")
    shown = {"json": "print(answer.json())", "text": "print(answer.text)"}
    take = shown.get(call.answer, f'open("{call.answer}", "wb").write(answer.content)')
    asked = "".join(f"    {argument},\n" for argument in arguments)
    failed = 'if answer.is_error:\n    raise SystemExit(answer.json()["error"]["message"])\n'
    return f"import httpx\n\nanswer = httpx.{call.method.lower()}(\n{asked})\n{failed}{take}\n"


def _javascript(call: Call) -> str:
    lines, options = [], []
    if call.fields is not None:
        lines.append('import { openAsBlob } from "node:fs"; // in a browser, use the file of an <input>')
    if call.saves:
        lines.append('import { writeFile } from "node:fs/promises";')
    if call.method != "GET":
        options.append(f'method: "{call.method}"')
    if call.keyed:
        options.append('headers: { Authorization: "Bearer KEY" }')
    if call.fields is not None:
        options.append("body: form")
        lines += [
            "",
            "const form = new FormData();",
            'form.append("audio", await openAsBlob("prompt.wav"), "prompt.wav");',
            *(f'form.append("{name}", "{value}");' for name, value in call.fields.items()),
        ]
    asked = f", {{ {', '.join(options)} }}" if options else ""
    shown = {"json": "console.log(await answer.json());", "text": "console.log(await answer.text());"}
    take = shown.get(call.answer, f'await writeFile("{call.answer}", Buffer.from(await answer.arrayBuffer()));')
    lines += [
        f'const answer = await fetch("{call.url}"{asked});',
        f"if (answer.ok) {take}",
        "else console.error((await answer.json()).error.message);",
    ]
    return "\n".join(lines) + "\n"
