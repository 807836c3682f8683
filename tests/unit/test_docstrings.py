"""Docstrings open plainly: with a verb, a noun or a unit, and not with a word that leans on what was not said."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("engine", "server", "training", "load", "benchmarks", "deploy", "cli", "whispergpt", "clients", "docs")
NEVER_FIRST = {"Of", "That", "Those", "Who", "Whoever", "Whose", "What", "It", "So"}


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of modules, classes, functions and constants, with their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        body = getattr(node, "body", [])
        for inner in body if isinstance(body, list) else []:
            match inner:
                case ast.Expr(value=ast.Constant(value=str() as text)):
                    yield inner.lineno, text.strip()


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_leans_on_what_was_not_said(folder: str) -> None:
    docstrings = {
        f"{path.relative_to(ROOT)}:{line}": text
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "node_modules" not in path.parts
        for line, text in _docstrings(path)
        if text
    }
    assert docstrings
    wrong = [
        f"{place}: {text.splitlines()[0]}"
        for place, text in docstrings.items()
        if text.split()[0].rstrip(",:;.") in NEVER_FIRST or text.startswith("The same")
    ]
    assert not wrong, "\n".join(wrong)
