"""The compiled kernels: built once for a processor level by the machine's C++ compiler, kept, and loaded."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from engine.native.kernels import KERNELS, Linear

SOURCES = Path(__file__).parent / "src"
SHIPPED = Path(__file__).parent / "built"
"""Where an image keeps what it has built for every level."""
LEVELS = {"x86-64-v4": "AVX512", "x86-64-v3": "AVX2"}
"""Processor levels that kernels are built for, and what torch calls them. The same level gives the same bits."""
BUILD_SECONDS = 300


class NativeError(RuntimeError):
    """There are no kernels for this machine; the message says why."""


def processor_level() -> str:
    """The level of this processor.

    Raises:
        NativeError: the kernels are not written for it.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    for level, name in LEVELS.items():
        if platform.machine() in ("x86_64", "AMD64") and capability.startswith(name):
            return level
    raise NativeError(f"there are no kernels for this processor ({platform.machine()}, {capability})")


@lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL:
    """The kernels for this processor, built now if they are not yet.

    Raises:
        NativeError: they cannot be built or loaded here.
    """
    level = processor_level()
    name = _file_name(level)
    found = next((f for f in (SHIPPED / name, _cache() / name) if f.exists()), None)
    return open_library(found or build(level, _cache()))


def open_library(path: Path) -> ctypes.CDLL:
    """A built library, its functions declared.

    Raises:
        NativeError: it cannot be loaded.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"the kernels could not be loaded ({error})") from None
    library.whispergpt_program.restype = ctypes.c_void_p
    for kernel in KERNELS:
        _function(library, kernel).argtypes = [ctypes.c_void_p, ctypes.POINTER(kernel)]
        _function(library, kernel).restype = None
    library.whispergpt_linear.argtypes = [ctypes.c_void_p, ctypes.POINTER(Linear), ctypes.c_int]
    library.whispergpt_stage.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.whispergpt_free.argtypes = [ctypes.c_void_p]
    address, number = ctypes.c_void_p, ctypes.c_int
    library.whispergpt_run.argtypes = [address, address, number, number, address]
    library.whispergpt_run.restype = None
    return library


def _function(library: ctypes.CDLL, kernel: type) -> ctypes._NamedFuncPointer:
    found: ctypes._NamedFuncPointer = getattr(library, kernel.symbol)  # type: ignore[attr-defined]
    return found


def build(level: str, folder: Path, *flags: str) -> Path:
    """Compile the kernels for ``level`` into ``folder``, with the compiler's further ``flags``; returns the path.

    Raises:
        NativeError: there is no compiler, or it fails.
    """
    wanted = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "c++"]
    compiler = next((found for found in map(shutil.which, wanted) if found), None)
    if compiler is None:
        raise NativeError(f"there is no C++ compiler ({' or '.join(wanted)})")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / "library.so"
            command = [compiler, "-std=c++17", "-O3", f"-march={level}", "-shared", "-fPIC", "-w", *flags]
            done = subprocess.run(
                [*command, str(SOURCES / "library.cpp"), "-o", str(made)],
                capture_output=True,
                text=True,
                timeout=BUILD_SECONDS,
            )
            if done.returncode:
                raise NativeError(f"the C++ compiler failed: {done.stderr.strip().splitlines()[-1:]}")
            # Renamed into place: another process finds it whole or not at all.
            return made.replace(folder / _file_name(level))
    except OSError as error:
        raise NativeError(f"the kernels could not be built ({error})") from None
    except subprocess.TimeoutExpired:
        raise NativeError(f"the C++ compiler took more than {BUILD_SECONDS} s") from None


def _cache() -> Path:
    """Where this user's builds are kept; a folder of this process alone where the home cannot be written."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "whispergpt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    return folder if writable else Path(tempfile.mkdtemp(prefix="whispergpt-"))


def _file_name(level: str) -> str:
    """Named by the sources, so that new ones are built anew."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    return f"kernels-{level}-{digest.hexdigest()[:12]}.so"


def main() -> int:
    """Build for every level into the package, as an image does that may run on any of them."""
    for level in LEVELS:
        try:
            sys.stdout.write(f"{build(level, SHIPPED)}\n")
        except NativeError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
