"""Options that several subcommands share, as fields of a dataclass, and what is said of wrong ones.

It imports nothing that takes long, such as torch.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

MODEL_HELP = "Name of an installed model, a folder, or hf://OWNER/NAME[@REVISION] of the Hugging Face Hub"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
_PHRASES = (
    (r"Value error, ", ""),
    (r"Input should be a valid integer, .*", "must be a whole number"),
    (r"Input should be a valid number, .*", "must be a number"),
    (r"Value should have at least (\d+) items? .*", r"must have at least \1 characters"),
    (r"Input should be a valid boolean, .*", "must be true or false"),
    (r"Input should be greater than or equal to ", "must be at least "),
    (r"Input should be less than or equal to ", "must be at most "),
    (r"Input should be greater than ", "must be above "),
    (r"Input should be less than ", "must be below "),
    (r"Input should be ", "must be "),
)
"""Phrases of pydantic, as patterns, and what stands for them."""
_ALIKE = (
    ("--seconds", "--duration", "--length", "--len", "--time", "-d"),
    ("--output", "--out", "--to", "--file", "--outfile", "--destination"),
    ("--temperature", "--temp", "-t"),
    ("--top-k", "--topk", "-k"),
    ("--top-p", "--topp", "-p"),
    ("--seed", "--random-seed", "--random-state", "-s"),
    ("--model", "--checkpoint", "--weights", "--model-path", "-m"),
    ("--with-prompt", "--include-prompt", "--prepend-prompt"),
    ("--format", "--response-format", "--type"),
    ("--play", "--listen", "--speakers"),
    ("--device", "--gpu", "--cuda", "--cpu"),
    ("--dtype", "--precision", "--fp16", "--bf16", "--half", "--float32", "--int8", "--quantization", "--quantize"),
    ("--host", "--bind", "--address", "--listen", "--ip"),
    ("--port", "-p"),
    ("--keys", "--api-keys", "--key-file", "--api-key", "--key", "--auth"),
    ("--api-key", "--key", "--token", "--bearer", "--auth", "--keys"),
    ("--workers", "--processes", "--threads", "--jobs", "-j"),
    ("--processes", "--workers", "--threads", "--jobs", "-j"),
    ("--max-streams", "--streams", "--batch", "--batch-size", "--slots"),
    ("--streams", "--listeners", "--users", "--clients", "--connections", "--concurrency", "-c", "-n"),
    ("--steps", "--epochs", "--iterations", "--max-steps"),
    ("--rate", "--lr", "--learning-rate"),
    ("--kbps", "--bitrate", "--bandwidth", "--bit-rate"),
    ("--json", "--as-json"),
)
"""Names of options, each followed by names that other programs give such an option."""


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command for typer that has the fields of a dataclass in place of the parameter of that class.

    Required parameters come first. A ValueError of the dataclass becomes a one-line error.
    """
    parameters: dict[str, inspect.Parameter] = {}
    structures: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        structure = parameter.annotation
        if is_dataclass(structure) and isinstance(structure, type):
            structures[name] = structure
            hints = get_type_hints(structure, include_extras=True)
            for field in inspect.signature(structure).parameters.values():
                parameters[field.name] = field.replace(annotation=hints[field.name])
        else:
            parameters[name] = parameter

    @wraps(command)
    def expanded(**given: Any) -> None:
        for name, structure in structures.items():
            try:
                given[name] = structure(**{field.name: given.pop(field.name) for field in fields(structure)})
            except ValueError as error:
                raise typer.BadParameter(str(error)) from None
        command(**given)

    shown = sorted(parameters.values(), key=lambda one: one.default is not inspect.Parameter.empty)
    by_name = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in shown]
    expanded.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]
    expanded.__annotations__ = {one.name: one.annotation for one in by_name}
    return expanded


def in_plain_words(said: str) -> str:
    """Return an error's message with pydantic's phrases for wrong numbers in this project's words."""
    for pattern, words in _PHRASES:
        said = re.sub(pattern, words, said)
    return said


def named_instead(wrong: str, near: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the options of a command that may be meant by one that it does not have.

    Args:
        near: options that are spelt alike.
        known: every option of the command.
    """
    meant = [first for first, *others in _ALIKE if wrong in others and first in known]
    return meant or list(near)
