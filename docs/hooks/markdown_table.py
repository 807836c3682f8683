"""Markdown tables, and placeholders for generated text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells may contain Markdown of one line."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def fill(page: str, name: str, text: str) -> str:
    """Return ``page`` with ``text`` in place of its line ``<!-- generated: name -->``.

    Raises:
        ValueError: the page does not have exactly one such line.
    """
    filled, count = re.subn(rf"^<!-- generated: {name} -->$", lambda _: text, page, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"The page must have one line '<!-- generated: {name} -->', and has {count}.")
    return filled
