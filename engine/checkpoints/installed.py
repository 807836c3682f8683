"""What is installed, without loading anything: cheap enough for a command line that only checks a name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

INSTALLED = Path(__file__).parents[1] / "models"
"""Folder of the models that come with the package."""
DEFAULTS = ("speech", "piano")
"""What a server has unless other models are named."""


def installed_models() -> list[str]:
    """Names of the models that come with the package, ``speech`` first."""
    names = [p.parent.name for p in INSTALLED.glob("*/config.json")]
    return sorted(names, key=lambda n: (n != "speech", n))


def default_models() -> list[str]:
    """Those that are served when none is named, the default first; others are there to be compared with."""
    names = installed_models()
    return [name for name in names if name in DEFAULTS] or names


def model_folder(name_or_folder: str) -> Path | None:
    """The folder of an installed model or of a path; None where there is neither."""
    for folder in (INSTALLED / name_or_folder, Path(name_or_folder)):
        try:
            if (folder / "config.json").is_file():
                return folder
        except (OSError, ValueError):  # a name that is too long, a folder that may not be looked into
            continue
    return None


def package_version() -> str:
    """The installed version, or ``source`` from a tree that is not installed."""
    try:
        return version("whispergpt")
    except PackageNotFoundError:
        return "source"
