"""Parts that every training run shares: its folder, log, learning-rate schedule and checkpoints."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from whispergpt.engine.whole_file import whole_file
from whispergpt.training.scalars import Board


def learning_rate(step: int, steps: int, peak: float, warmup: int, held: float = 0.0) -> float:
    """Return the rate in a step: linear warm-up, ``peak`` up to the share ``held``, a cosine to a twentieth of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    start = max(warmup, held * steps)
    progress = min(1.0, max(0.0, (step - start) / max(1.0, steps - start)))
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


MAY_CHANGE = "recipe.steps"
"""Setting that may change when a run is resumed; a change of any other is refused."""
LATER = {
    "recipe.adversary_filters": 8,
    "recipe.adversary_of": None,
    "recipe.coarse_by_mel": False,
    "recipe.on_device": False,
    "recipe.stall_share": 0.0,
    "recipe.pitch_ahead": 0.0,
    "recipe.guide": 0.0,
    "recipe.dropout": 0.0,
    "recipe.weight_decay": 0.0,
    "model.fine.kind": "drawn",
}
"""Values of fields that some configurations lack, such as older runs'; these resume with them."""


def config_hash(config: dict[str, Any]) -> str:
    """Return eight hexadecimal digits that identify a run's configuration: model, recipe and data."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


class Run:
    """A folder with ``run.json`` (its configuration), ``log.jsonl`` and ``last.pt``, from which it resumes.

    Args:
        parts: the checkpoint's contents, by name.
        boards: folder for TensorBoard, in which this run gets a folder of its name.

    Raises:
        ValueError: the folder has a run of another configuration; the message says what differs.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        parts: Mapping[str, nn.Module | torch.optim.Optimizer],
        save_minutes: float = 3.0,
        boards: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.parts, self.save_seconds = folder, parts, save_minutes * 60
        kept = folder / "run.json"  # config.json describes the model that the run writes
        if (folder / "last.pt").exists() and kept.exists():
            _refuse_changes(folder, json.loads(kept.read_text()), json.loads(json.dumps(config)))
        kept.write_text(json.dumps(config, indent=2))
        self._log = (folder / "log.jsonl").open("a")
        self._board = None if boards is None else Board(boards / folder.resolve().name)
        self._saved = time.monotonic()

    def resume(self) -> int:
        """Load the last checkpoint, if there is one, and return the next step."""
        last = self.folder / "last.pt"
        if not last.exists():
            return 0
        state = torch.load(last, weights_only=True, map_location="cpu")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        for device, generator in enumerate(state.get("gpu_rng", [])[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(generator, device)
        return int(state["step"])

    def save(self, step: int, force: bool = False) -> None:
        """Write the checkpoint atomically if the last one is old enough.

        Raises:
            ValueError: it cannot be written; the last one stays.
        """
        if not force and time.monotonic() - self._saved < self.save_seconds:
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"step": step, "rng": torch.get_rng_state()}
        if torch.cuda.is_initialized():  # nothing was drawn there otherwise
            state["gpu_rng"] = torch.cuda.get_rng_state_all()
        try:
            with whole_file(self.folder / "last.pt") as whole:
                torch.save(state, whole)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"no checkpoint could be written to {self.folder}, the last one stands: {error}") from None
        self._saved = time.monotonic()

    def best(self, name: str) -> float:
        """Return the lowest value logged under ``name`` so far; infinity before the first."""
        lines = (json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines())
        return min((line[name] for line in lines if name in line), default=math.inf)

    def log(self, step: int, **values: float) -> None:
        """Append one line to ``log.jsonl`` and print it."""
        line = {"step": step, **{k: round(float(v), 5) for k, v in values.items()}}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        if self._board is not None:
            self._board.add(step, {k: float(v) for k, v in values.items()})
        tqdm.write("  ".join(f"{k} {v}" for k, v in line.items()))


def part_of(folder: Path, name: str) -> dict[str, Tensor]:
    """Return the weights of one part in the last checkpoint of a run.

    Raises:
        ValueError: there is no checkpoint, or no such part in it.
    """
    last = folder / "last.pt"
    if not last.exists():
        raise ValueError(f"{folder} has no checkpoint of a run")
    state = torch.load(last, weights_only=True, map_location="cpu")
    if name not in state:
        raise ValueError(f"the run in {folder} has no {name}")
    weights: dict[str, Tensor] = state[name]
    return weights


def _refuse_changes(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    old, new = _flat(before), _flat(now)
    held = old | new
    old, new = ({name: value for name, value in LATER.items() if name in held} | each for each in (old, new))
    changed = [
        f"{name} was {old.get(name, 'not there')} and is now {new.get(name, 'not there')}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name) and name != MAY_CHANGE
    ]
    if changed:
        raise ValueError(
            f"{folder} has a run that differs: {'; '.join(changed)}. Give the old values or another folder."
        )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration as one level of names, joined by dots."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return out
