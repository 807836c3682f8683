"""Tables of a page, written by code from results of ``eval``, ``train study`` and training runs.

A comment in the page names the kind of a table and its files, relative to the page; the table stands below, and a
second comment ends it::

    <!-- table: evaluation paper/libri.json -->
    <!-- end of table -->

``python -m whispergpt.training.study.tables PAGE`` rewrites the tables; with ``--check`` it only compares them with
the files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from whispergpt.training.run import config_hash
from whispergpt.training.study.curves import read_curve

Bounds: TypeAlias = "tuple[float, float] | None"
Rows: TypeAlias = "list[list[str]]"
"""Rows of a table; the first has the names of its columns."""
WriteCell: TypeAlias = Callable[[float, Bounds, str], str]
"""Function that writes a mean with its bounds and the format's sign, ``+`` or empty."""
_TABLE = re.compile(r"<!-- table: (\w+) (.+?) -->\n.*?<!-- end of table -->", re.DOTALL)


def fill(text: str, folder: Path) -> str:
    """Return the page with its tables filled from the files in ``folder``.

    Raises:
        ValueError: a kind is unknown, or a file does not fit its table.
    """

    def written(found: re.Match[str]) -> str:
        kind, names = found[1], found[2].split()
        if kind not in KINDS:
            raise ValueError(f"there is no table of kind {kind!r}, only {', '.join(KINDS)}")
        try:
            rows = KINDS[kind]([folder / name for name in names])
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{found[2]} makes no table of kind {kind!r}: {error!r}") from None
        return f"<!-- table: {kind} {found[2]} -->\n{_markdown(rows)}<!-- end of table -->"

    return _TABLE.sub(written, text)


def evaluation(files: list[Path]) -> Rows:
    """Return the paper's table 1 (arXiv 2412.11449) for one ``eval``, with differences from the first model."""
    models = _models(files[0])
    rows = [["model", "parameters", "NLL, nats", "accuracy", "perplexity", f"NLL above {models[0]['model']}"]]
    for model in models:
        above = model.get("nll_above_first")
        rows.append(
            [
                model["model"],
                f"{model['parameters'] / 1e6:.1f}M",
                _interval(model["nll"], model["nll_interval"]),
                f"{100 * model['accuracy']:.2f} %",
                f"{model['perplexity']:.2f}",
                "" if above is None or model is models[0] else _interval(above, model["nll_above_first_interval"], "+"),
            ]
        )
    return rows


def conditions(files: list[Path]) -> Rows:
    """Return the NLL of the same models by the source of their slices, with differences from the first source."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    names = [result["condition"] for result in results]
    rows = [["model", *names, *(f"{name} above {names[0]}" for name in names[1:])]]
    for models in zip(*(result["models"] for result in results), strict=True):
        nll = [model["nll"] for model in models]
        rows.append([models[0]["model"], *(f"{x:.3f}" for x in nll), *(f"{x - nll[0]:+.3f}" for x in nll[1:])])
    return rows


def losses(logs: list[Path]) -> Rows:
    """Return the final values of runs (training NLL over the last 25 steps, held-out NLL, accuracy, perplexity) and the
    lowest held-out NLL."""
    rows = [["run", "configuration", "seed", "steps", "in training", "held out", "accuracy", "perplexity", "lowest"]]
    for log in logs:
        curve = read_curve(log)
        step, least = curve.best
        rows.append(
            [
                curve.name,
                config_hash(curve.config) if curve.config else "",
                str(curve.config["recipe"]["seed"]) if curve.config else "",
                str(curve.steps[-1]),
                f"{curve.train[-1]:.3f}",
                f"{curve.heldout[-1]:.3f}",
                f"{100 * curve.accuracy[-1]:.1f} %",
                f"{math.exp(curve.heldout[-1]):.1f}",
                f"{least:.3f} at {step}",
            ]
        )
    return rows


def context_rows(models: list[dict[str, Any]], write: WriteCell) -> Rows:
    """Return the table of a study of context, whose cells ``write`` formats."""
    rows = [["frames of context", *(model["model"] for model in models)]]
    for cells in zip(*(model["by_context"] for model in models), strict=True):
        first, last = cells[0]["context"]
        rows.append([f"{first} to {last}", *(write(cell["nll"], cell["interval"], "") for cell in cells)])
    return rows


def band_rows(models: list[dict[str, Any]], write: WriteCell) -> Rows:
    """Return the table of a study of bands, whose cells ``write`` formats."""
    rows = [["left out", *(model["model"] for model in models)]]
    rows.append(["nothing: NLL", *(write(model["nll"], model["interval"], "") for model in models)])
    for cells in zip(*(model["lost_without"] for model in models), strict=True):
        low, high = cells[0]["hz"]
        rows.append([f"{low} to {high} Hz", *(write(cell["nll"], cell["interval"], "+") for cell in cells)])
    everything = [model["lost_without_all"] for model in models]
    rows.append(["everything", *(write(cell["nll"], cell["interval"], "+") for cell in everything)])
    return rows


KINDS: dict[str, Callable[[list[Path]], Rows]] = {
    "evaluation": evaluation,
    "conditions": conditions,
    "losses": losses,
    "context": lambda files: context_rows(_models(files[0]), _interval),
    "bands": lambda files: band_rows(_models(files[0]), _interval),
}


def _models(file: Path) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["models"]
    return models


def _interval(mean: float, bounds: Bounds, sign: str = "") -> str:
    if bounds is None:
        return f"{mean:{sign}.3f}"
    return f"{mean:{sign}.3f} ({bounds[0]:{sign}.3f} to {bounds[1]:{sign}.3f})"


def _markdown(rows: Rows) -> str:
    lines = ["| " + " | ".join(row) + " |\n" for row in rows]
    return "".join([lines[0], "| " + " | ".join(["---"] * len(rows[0])) + " |\n", *lines[1:]])


def main(
    page: Path,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit with 1 where they differ.")] = False,
) -> None:
    """Write a page's tables from files."""
    text = page.read_text(encoding="utf-8")
    filled = fill(text, page.parent)
    if check:
        raise typer.Exit(int(filled != text))
    page.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
