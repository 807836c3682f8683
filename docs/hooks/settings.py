"""Hook that fills ``operating.md`` with every setting of the server, from ``server/settings.py``."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from markdown_table import fill, table
from mkdocs.structure.pages import Page
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from whispergpt.cli.serve import serve
from whispergpt.server.settings import Settings

PAGE = "operating.md"


def on_page_markdown(markdown: str, /, *, page: Page, config: object, files: object) -> str:
    return fill(markdown, "settings", settings_table()) if page.file.src_uri == PAGE else markdown


def settings_table() -> str:
    """Return a table of all settings: variable, flag, default, bounds and description."""
    flags = {name.rstrip("_") for name in inspect.signature(serve).parameters}
    rows = [
        (
            f"`{Settings.model_config['env_prefix']}{name.upper()}`",
            f"`--{name.replace('_', '-')}`" if name in flags else "",
            _default(name, field),
            _bounds(field),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]
    return table(("variable", "flag of `serve`", "default", "bounds", "description"), rows)


def _default(name: str, field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value == []:
        return "none"
    return f"`{value}`" if isinstance(value, str) else _number(name, value)


def _bounds(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    bounds: dict[type, Any] = {type(bound): bound for bound in field.metadata}
    told = []
    if Ge in bounds:
        told.append(f"from {_grouped(bounds[Ge].ge)}")
    if Gt in bounds:
        told.append(f"above {_grouped(bounds[Gt].gt)}")
    if Le in bounds:
        told.append(f"to {_grouped(bounds[Le].le)}")
    return " ".join(told)


def _number(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes"):
        for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value % size == 0:
                return f"{value // size} {unit}"
    return _grouped(value)


def _grouped(value: float) -> str:
    return f"{int(value):,}" if value >= 10_000 else f"{value:g}"
