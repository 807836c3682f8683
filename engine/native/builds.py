"""Builds of the kernels: the compiler's command, and file names that change with all that a build is made from.

It needs nothing but the standard library, because ``setup.py`` imports it where torch is not installed.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from whispergpt.engine.native.compiler import BUILD_SECONDS, Compilation, CompilerError
from whispergpt.engine.native.targets import FLAGS, SOURCES, Target, sources_digest

_PREFIX = "kernels-"


class NativeError(RuntimeError):
    """Kernels cannot be used on this machine; the message says why."""


def build(target: Target, folder: Path, *flags: str, name: str | None = None) -> Path:
    """Compile the kernels for ``target`` into ``folder``, with further compiler ``flags``; return the path.

    Raises:
        NativeError: there is no compiler, or it fails.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Compilation(compile_command(target, *flags), folder, shared=True) as made:
            # Renamed into place, so that another process never finds a partial file.
            return made.replace(folder / (name or file_name(target)))
    except CompilerError as error:
        raise NativeError(str(error)) from error


def compile_command(target: Target, *flags: str) -> list[str]:
    """Return the compiler and its arguments, except the output."""
    return [*compiler(), *FLAGS, *target.flags, *flags, str(SOURCES / "library.cpp")]


def compiler() -> list[str]:
    """Return the command of the C++ compiler: GCC 12 or newer, or clang 14 or newer.

    Raises:
        NativeError: there is none.
    """
    wanted = [shlex.split(os.environ["CXX"])] if os.environ.get("CXX") else [["g++"], ["c++"]]
    for command in wanted:
        if command and shutil.which(command[0]):
            return command
    raise NativeError(f"there is no C++ compiler ({' or '.join(c[0] for c in wanted if c)})")


def compiler_version() -> str:
    """Return what the compiler says of itself; raise NativeError if there is none."""
    return subprocess.run([*compiler(), "--version"], capture_output=True, text=True, timeout=BUILD_SECONDS).stdout


def file_name(target: Target, compiler_version: str = "") -> str:
    """Return a name that changes with sources, flags and compiler, so that each change causes a new build."""
    made_by = hashlib.sha256(repr((FLAGS, target.flags, compiler_version)).encode()).hexdigest()[:8]
    return f"{_PREFIX}{target.name}-{sources_digest()}.{made_by}.so"


def library_name(path: Path) -> str:
    """Return the name of a build in fingerprints, without flags and compiler: all compilers give the same bits."""
    return "native-" + path.name.removeprefix(_PREFIX).partition(".")[0]
