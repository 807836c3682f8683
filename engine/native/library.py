"""The compiled kernels: shipped in the image, or built once by the machine's C++ compiler and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from whispergpt.engine.checkpoints.user_cache import user_cache
from whispergpt.engine.native.compiler import BUILD_SECONDS, Compilation, CompilerError, CompilerTimeout
from whispergpt.engine.native.kernels import KERNELS, Kernel

SOURCES = Path(__file__).parent / "src"
SHIPPED = Path(__file__).parent / "built"
"""Folder in an image with the kernels for every level."""
LEVELS = {"x86-64-v4-bf16": "AVX512", "x86-64-v4": "AVX512", "x86-64-v3": "AVX2"}
"""Processor levels that kernels are built for, highest first, with torch's names for them; ``-bf16`` also has units for
bfloat16."""
_MACHINES = ("x86_64", "AMD64")
_BF16 = "-bf16"
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-shared", "-fPIC")
"""Compiler flags. Without contraction only the sources' multiply-adds are fused: the same bits from any compiler."""


class NativeError(RuntimeError):
    """Kernels cannot be used on this machine; the message says why."""


@dataclass(frozen=True)
class Library:
    """The loaded kernels; ``name`` identifies them in the fingerprint."""

    functions: ctypes.CDLL
    name: str


def load_library(level: str | None = None) -> Library:
    """Load the kernels for this processor's highest level, or for ``level``; build them if that is not done yet.

    Raises:
        NativeError: the kernels cannot be built or loaded here.
    """
    found = _load_once(level or processor_levels()[0])
    if isinstance(found, NativeError):
        raise found
    return found


@cache
def _load_once(level: str) -> Library | NativeError:
    """Return the library or the error. Errors are cached too, so that a failing compiler runs only once."""
    try:
        shipped = SHIPPED / _file_name(level)
        return open_library(shipped) if shipped.exists() else _from_cache(level)
    except NativeError as error:
        return error
    except (OSError, RuntimeError) as error:
        return NativeError(f"the kernels could not be prepared ({error})")


def processor_levels() -> list[str]:
    """Return the levels that this processor has, highest first.

    Raises:
        NativeError: there are no kernels for this processor.
    """
    capability, levels = torch.backends.cpu.get_cpu_capability(), list(LEVELS)
    if not _multiplies_bfloat16():
        levels = [level for level in levels if not level.endswith(_BF16)]
    for index, level in enumerate(levels):
        if platform.machine() in _MACHINES and capability.startswith(LEVELS[level]):
            return levels[index:]
    raise NativeError(f"there are no kernels for this processor ({platform.machine()}, {capability})")


@cache
def _multiplies_bfloat16() -> bool:
    """Return whether Linux says that every processor has AVX512's products of bfloat16."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = [line.split() for line in lines if line.startswith("flags")]
    return bool(flags) and all("avx512_bf16" in each for each in flags)


def open_library(path: Path) -> Library:
    """Load a built library and declare its functions.

    Raises:
        NativeError: the library cannot be loaded, or was built from other sources.
    """
    try:
        functions = ctypes.CDLL(str(path))
        functions.whispergpt_program.restype = ctypes.c_void_p
        functions.whispergpt_multiplies_pairs.restype = ctypes.c_bool
        functions.whispergpt_stage.argtypes = [ctypes.c_void_p, ctypes.c_int]
        functions.whispergpt_by_row.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_bool]
        functions.whispergpt_free.argtypes = [ctypes.c_void_p]
        address, number = ctypes.c_void_p, ctypes.c_int
        functions.whispergpt_run.argtypes = [address, address, number, number, address]
        functions.whispergpt_run.restype = None
        for kernel in KERNELS:
            _declare(functions, kernel)
    except (OSError, AttributeError) as error:
        raise NativeError(f"the kernels could not be loaded ({error})") from None
    return Library(functions, f"native-{path.stem.removeprefix('kernels-')}")


def _declare(functions: ctypes.CDLL, kernel: type[Kernel]) -> None:
    function, size = getattr(functions, kernel.symbol), getattr(functions, f"{kernel.symbol}_size")
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.POINTER(kernel)], None
    if size() != ctypes.sizeof(kernel):
        raise NativeError(f"the kernels take {kernel.__name__} in another layout")


def build(level: str, folder: Path, *flags: str, name: str | None = None) -> Path:
    """Compile the kernels for ``level`` into ``folder``, with further compiler ``flags``; return the path.

    Raises:
        NativeError: there is no compiler, or it fails.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Compilation(_command(level, *flags), folder, shared=True) as made:
            # Renamed into place, so that another process never finds a partial file.
            return made.replace(folder / (name or _file_name(level)))
    except CompilerError as error:
        raise NativeError(str(error)) from error


def _command(level: str, *flags: str) -> list[str]:
    """Return the compiler and its arguments, except the output."""
    # A mark of the level makes the system's loader refuse the library on a processor of a lower level.
    instructions = level.removesuffix(_BF16)
    made_for = [f"-march={instructions}", f"-Wl,-z,{instructions}"]
    made_for += ["-mavx512bf16"] if level.endswith(_BF16) else []
    return [*_compiler(), *FLAGS, *made_for, *flags, str(SOURCES / "library.cpp")]


def _compiler() -> list[str]:
    """Return the command of the C++ compiler: GCC 11 or newer."""
    wanted = [shlex.split(os.environ["CXX"])] if os.environ.get("CXX") else [["g++"], ["c++"]]
    for command in wanted:
        if command and shutil.which(command[0]):
            return command
    raise NativeError(f"there is no C++ compiler ({' or '.join(c[0] for c in wanted if c)})")


def _from_cache(level: str) -> Library:
    """Load a kept build, or build now; a build that cannot be kept serves this process alone."""
    version = subprocess.run([*_compiler(), "--version"], capture_output=True, text=True, timeout=BUILD_SECONDS)
    name = _file_name(level, version.stdout)
    try:
        folder = _cache()
        kept = folder / name
        if _is_ours(kept):
            try:
                return open_library(kept)
            except NativeError:
                pass  # damaged, so it is built again
        return open_library(build(level, folder, name=name))
    except (NativeError, OSError) as error:
        if isinstance(error.__cause__, CompilerTimeout):
            raise
        unkept = error
    try:
        with Compilation(_command(level), Path(tempfile.gettempdir()), shared=False) as made:
            found = open_library(made.rename(made.with_name(name)))
    except CompilerError as error:
        raise NativeError(str(error)) from error
    sys.stderr.write(f"The compiled kernels are not kept, so each start compiles them again: {unkept}.\n")
    return found


def _cache() -> Path:
    """Return the user's folder for builds.

    Raises:
        OSError: there is no folder that only the user can write.
    """
    try:
        folder = user_cache()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except RuntimeError as error:
        raise OSError(str(error)) from None
    if not _is_ours(folder):
        raise OSError(f"{folder} belongs to another user, or others may write to it")
    return folder


def _is_ours(path: Path) -> bool:
    """Return whether ``path`` exists and only this user can have written it."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _file_name(level: str, compiler: str = "") -> str:
    """Return a name that changes with sources, flags and compiler, so that each change causes a new build."""
    digest = hashlib.sha256(repr((FLAGS, compiler)).encode())
    for source in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(source.name.encode() + source.read_bytes())
    return f"kernels-{level}-{digest.hexdigest()[:8]}.so"


def main() -> int:
    """Build the kernels for every level into the package, for an image that may run on any of them."""
    if platform.machine() not in _MACHINES:
        sys.stdout.write(f"There are no kernels for {platform.machine()}: torch runs the step.\n")
        return 0
    for level in LEVELS:
        try:
            made = build(level, SHIPPED)
            for path in (SHIPPED, made):  # the user who serves may differ from the one who installs
                path.chmod(0o755)
            sys.stdout.write(f"{made}\n")
        except (NativeError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
