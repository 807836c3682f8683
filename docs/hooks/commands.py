"""Hook that fills ``commands.md`` with every subcommand of ``whispergpt``, from the code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, get_args, get_origin

from markdown_table import fill, table
from mkdocs.structure.pages import Page

from whispergpt.cli.main import COMMANDS, command_of

PAGE = "commands.md"
# Typer carries its own copy of click, whose classes have no public name.
Command: TypeAlias = Any


def on_page_markdown(markdown: str, /, *, page: Page, config: object, files: object) -> str:
    return fill(markdown, "commands", all_commands()) if page.file.src_uri == PAGE else markdown


def all_commands() -> str:
    """Return the Markdown of all subcommands: a heading, the help, and a table of arguments and options for each."""
    return "\n\n".join(part for name in COMMANDS for part in _described(f"whispergpt {name}", command_of(name)))


def _described(name: str, command: Command) -> Iterator[str]:
    below = getattr(command, "commands", {})
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([name, *(_named(argument) for argument in arguments), "COMMAND" if below else "[OPTIONS]"])
    yield f"## `{name}`\n\n{' '.join((command.help or '').split())}\n\n```text\n{usage}\n```"
    rows = [(_written(param), _default(param), param.help or "") for param in command.params if not _is_help(param)]
    if rows:
        yield table(("", "default", "description"), rows)
    for inner, inner_command in below.items():
        yield from _described(f"{name} {inner}", inner_command)


def _is_help(param: Command) -> bool:
    return "--help" in param.opts


def _named(argument: Command) -> str:
    shown = str(argument.metavar or argument.name.upper()).removesuffix("...")
    return f"{shown}…" if argument.nargs == -1 else shown


def _written(param: Command) -> str:
    if param.param_type_name == "argument":
        return f"`{_named(param)}`"
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    annotation = param.type_descriptor.annotation
    return f"{names} {' | '.join(get_args(annotation))}" if get_origin(annotation) is Literal else names


def _default(param: Command) -> str:
    value = param.default
    if value is None or callable(value) or (isinstance(value, bool) and not param.secondary_opts):
        return "required" if param.required else ""
    if isinstance(value, bool):
        return f"`{(param.opts if value else param.secondary_opts)[0]}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
