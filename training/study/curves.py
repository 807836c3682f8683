"""Learning curves from runs' logs, as in the paper's figures 2 (music) and 3 (speech), arXiv 2412.11449."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELDOUT = "heldout_original"
"""Name of the NLL on slices of the recordings themselves; a token-only model has the same NLL on all versions."""
ACCURACY = "accuracy_original"


@dataclass(frozen=True)
class Curve:
    """Curve of one run: held-out NLL in nats and accuracy at each checked step, training NLL by step, and the
    configuration, if it lies beside the log."""

    name: str
    steps: list[int]
    heldout: list[float]
    accuracy: list[float]
    train_steps: list[int]
    train: list[float]
    config: dict[str, Any] | None = None

    @property
    def best(self) -> tuple[int, float]:
        """Return the step of the lowest held-out NLL, and that NLL."""
        least = min(self.heldout)
        return self.steps[self.heldout.index(least)], least


def read_curve(run: Path) -> Curve:
    """Return the curve of a run's folder, or of its log.

    Raises:
        ValueError: there is no such log, or it has no check.
    """
    log = run / "log.jsonl" if run.is_dir() else run
    config = log.with_name("run.json")
    try:
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        checked, trained = _latest(lines, HELDOUT), _latest(lines, "train")
        curve = Curve(
            log.parent.name if log.name == "log.jsonl" else log.stem,
            [line["step"] for line in checked],
            [line[HELDOUT] for line in checked],
            [line[ACCURACY] for line in checked],
            [line["step"] for line in trained],
            [line["train"] for line in trained],
            json.loads(config.read_text(encoding="utf-8")) if config.is_file() else None,
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{log} is not the log of a model's run: {error}") from None
    if not curve.steps:
        raise ValueError(f"{log} has no check of the held-out part yet")
    return curve


def _latest(lines: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the last line of each step that has a value ``name``; a resumed run has repeated some of its steps."""
    by_step = {line["step"]: line for line in lines if name in line}
    return [by_step[step] for step in sorted(by_step)]


def draw_curves(curves: Sequence[Curve], title: str, path: Path) -> None:
    """Draw each run's held-out NLL over steps, and its training NLL as a thin line of the same colour.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # imported here, since only drawing needs it

    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    for number, curve in enumerate(curves):
        colour = f"C{number}"
        step, least = curve.best
        label = f"{curve.name}: {least:.3f} nats, perplexity {math.exp(least):.1f}, at step {step}"
        axes.plot(curve.steps, curve.heldout, color=colour, marker=".", label=label)
        axes.plot(curve.train_steps, curve.train, color=colour, linewidth=0.8, alpha=0.6)
    axes.set(title=title, xlabel="step", ylabel="NLL of the next coarse code [nats]")
    lowest = min(min(curve.heldout + curve.train) for curve in curves)
    highest = max(curve.heldout[0] for curve in curves)
    axes.set_ylim(lowest - 0.1, highest + 0.1)
    figure.legend(title="held out (thin: training)", loc="outside lower center")
    figure.savefig(path, dpi=150)
