"""Tables for pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells may hold Markdown of one line."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def fill(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` in the place of its line ``<!-- generated: name -->``.

    Raises:
        ValueError: it has no such line.
    """
    filled, count = re.subn(rf"^<!-- generated: {name} -->$", lambda _: text, page, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"The page must have one line '<!-- generated: {name} -->', and has {count}.")
    return filled
