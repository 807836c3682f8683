"""Installation of a run's model under a name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from whispergpt.engine.checkpoints.checkpoint import codec_hash, load_model
from whispergpt.engine.checkpoints.installed import INSTALLED, installed_models


def install_model(run: Path, name: str, replacing: bool = False) -> Path:
    """Copy a run's model, its log and its card, if it has one, to the folder where ``--model NAME`` finds it.

    A codec with the same bytes as an installed model's is not copied but referred to.

    Returns:
        The installed model's folder.

    Raises:
        ModelError: the run has no model that can be loaded.
        ValueError: the name is not valid, or is taken and not to be replaced.
        OSError: the folder cannot be written.
    """
    if name != Path(name).name or name.startswith((".", "-")) or not name:
        raise ValueError(f"{name!r} cannot be the name of a model")
    if (INSTALLED / name).exists() and not replacing:
        raise ValueError(f"there is a model {name!r} already; --replace puts this one in its place")
    load_model(str(run.resolve()), torch.device("cpu"))
    partial = INSTALLED / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    config = json.loads((run / "config.json").read_text())
    sha256 = codec_hash(run) if (run / "codec.safetensors").is_file() else None
    lender = _lender(sha256, name)
    if lender:
        config["codec"] = {"of": lender, "sha256": sha256}
    (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    copied = {
        "model.safetensors": "model.safetensors",
        "log.jsonl": "log-model.jsonl",
        "MODEL_CARD.md": "MODEL_CARD.md",
    }
    if not lender:
        copied["codec.safetensors"] = "codec.safetensors"
    for source, target in copied.items():
        if (run / source).is_file():
            shutil.copyfile(run / source, partial / target)
    shutil.rmtree(INSTALLED / name, ignore_errors=True)
    return partial.rename(INSTALLED / name)


def _lender(sha256: str | None, name: str) -> str | None:
    """Return the installed model that has this codec, or None."""
    for other in installed_models():
        folder = INSTALLED / other
        if other != name and (folder / "codec.safetensors").is_file() and codec_hash(folder) == sha256:
            return other
    return None
