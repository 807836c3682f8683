"""What every training run shares: where it is kept, its log, its schedule, and how it resumes."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth of ``peak``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


class Run:
    """A folder with ``config.json``, ``log.jsonl`` and ``last.pt``, the checkpoint from which it resumes."""

    def __init__(self, folder: Path, config: dict[str, Any], save_minutes: float = 3.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.save_seconds = folder, save_minutes * 60
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        self._log = (folder / "log.jsonl").open("a")
        self._saved = time.monotonic()

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Load the last checkpoint, if there is one, and return the step to go on from."""
        last = self.folder / "last.pt"
        if not last.exists():
            return 0
        state = torch.load(last, weights_only=True, map_location="cpu")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        return int(state["step"])

    def save(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, force: bool = False) -> None:
        """Write the checkpoint if the last one is old enough; the rename makes it whole or absent."""
        if not force and time.monotonic() - self._saved < self.save_seconds:
            return
        partial = self.folder / "last.pt.partial"
        state = {
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }
        torch.save(state, partial)
        partial.rename(self.folder / "last.pt")
        self._saved = time.monotonic()

    def best(self, name: str) -> float:
        """The lowest value logged under ``name`` so far; infinity before the first."""
        lines = (json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines())
        return min((line[name] for line in lines if name in line), default=math.inf)

    def log(self, step: int, **values: float) -> None:
        """Append one line to ``log.jsonl`` and show it."""
        line = {"step": step, **{k: round(float(v), 5) for k, v in values.items()}}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        tqdm.write("  ".join(f"{k} {v}" for k, v in line.items()))
