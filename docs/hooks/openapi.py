"""Hook that fills ``http.md`` with every route, from the app's OpenAPI schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from markdown_table import fill, table
from mkdocs.structure.pages import Page

from whispergpt.server.app import create_app
from whispergpt.server.services import services_of
from whispergpt.server.settings import Settings

PAGE = "http.md"
Schema: TypeAlias = dict[str, Any]


def on_page_markdown(markdown: str, /, *, page: Page, config: object, files: object) -> str:
    return fill(markdown, "routes", all_routes(schema())) if page.file.src_uri == PAGE else markdown


def schema() -> Schema:
    """Return the schema of an app that is not started."""
    app = create_app(Settings(host="127.0.0.1", keys=None, tracing=False))
    try:
        return app.openapi()
    finally:
        services = services_of(app)
        services.decoders.close()
        services.audio.close()
        services.live.close()


def all_routes(api: Schema) -> str:
    """Return the Markdown of all routes: a heading, parameters and answers for each."""
    return "\n\n".join(
        part
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
        for part in _route(f"{method.upper()} {path}", operation, api)
    )


def _route(name: str, operation: Schema, api: Schema) -> Iterator[str]:
    yield f"### `{name}`"
    yield f"{operation['summary']}."
    if described := operation.get("description"):
        yield " ".join(described.replace("``", "`").split())
    if "requestBody" in operation:
        form = api["components"]["schemas"]["ContinueForm"]
        required = form.get("required", [])
        rows = [
            (f"`{field}`", _type(part), _bounds(part, field in required), part.get("description", ""))
            for field, part in form["properties"].items()
        ]
        yield table(("form field", "type", "bounds", "description"), rows)
    if asked := operation.get("parameters"):
        parameters = [(f"`{part['name']}`", part["in"], _type(part["schema"])) for part in asked]
        yield table(("parameter", "where", "type"), parameters)
    answers = operation["responses"]
    yield table(("status", "answer"), [(f"`{status}`", answer["description"]) for status, answer in answers.items()])
    told = {name: text["description"] for answer in answers.values() for name, text in answer["headers"].items()}
    yield table(("response header", "description"), [(f"`{name}`", text) for name, text in told.items()])


def _type(part: Schema) -> str:
    return "file" if part.get("format") == "binary" else str(part.get("type", ""))


def _bounds(part: Schema, required: bool) -> str:
    told = ["required"] if required else []
    if "enum" in part:
        told.append(", ".join(f"`{choice}`" for choice in part["enum"]))
    if "exclusiveMinimum" in part:
        told.append(f"above {part['exclusiveMinimum']:g}")
    if "minimum" in part:
        told.append(f"from {part['minimum']:g}")
    if "maximum" in part:
        told.append("to 2^53 - 1" if part["maximum"] == 2**53 - 1 else f"to {part['maximum']:g}")
    if "default" in part:
        told.append(f"default `{str(part['default']).lower()}`")
    return ", ".join(told)
