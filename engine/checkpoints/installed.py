"""The installed models and version, found without loading anything, so that a command line can check a name fast."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

INSTALLED = Path(__file__).parents[1] / "models"
"""Folder of the models that come with the package."""
DEFAULTS = ("speech", "piano")
"""Models that a server loads unless others are named."""

_LIKE_A_HUB_NAME = re.compile(r"(?:hf:/*|https://huggingface\.co/)?([\w.-]+/[\w.-]+)", re.ASCII)


def installed_models() -> list[str]:
    """Return the names of the models that come with the package, ``speech`` first."""
    names = [p.parent.name for p in INSTALLED.glob("*/config.json")]
    return sorted(names, key=lambda n: (n != "speech", n))


def default_models() -> list[str]:
    """Return the models that are served when none is named, the default first; others serve for comparison."""
    names = installed_models()
    return [name for name in names if name in DEFAULTS] or names


def model_folder(name_or_folder: str) -> Path | None:
    """Return the folder of an installed model or of a path; None where there is neither."""
    for folder in (INSTALLED / name_or_folder, Path(name_or_folder)):
        try:
            if (folder / "config.json").is_file():
                return folder
        except (OSError, ValueError):  # the name is too long, or the folder may not be read
            continue
    return None


def no_model(name: str) -> str:
    """Return the sentence for a name that is no model's; it says what may be meant."""
    known = ", ".join(installed_models()) or "none"
    told = f"There is no model {name!r}: not installed ({known}) and not a model folder"
    if os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises for a name that no file can have
        return f"{told}: it has no config.json."
    if named := _LIKE_A_HUB_NAME.fullmatch(name):
        return f"{told}; hf://{named[1]} is the one of the Hugging Face Hub."
    return f"{told}."


def package_version() -> str:
    """Return the installed version, or ``source`` from a tree that is not installed."""
    try:
        return version("whispergpt")
    except PackageNotFoundError:
        return "source"
