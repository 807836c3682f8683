"""The loaded kernels: prebuilt ones of the installation, or once compiled by this machine and kept."""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile
from pathlib import Path

import torch

from whispergpt.engine.checkpoints.user_cache import user_cache
from whispergpt.engine.native.builds import (
    NativeError,
    build,
    compile_command,
    compiler_version,
    file_name,
    library_name,
)
from whispergpt.engine.native.compiler import Compilation, CompilerError, CompilerTimeout
from whispergpt.engine.native.kernels import KERNELS, Kernel
from whispergpt.engine.native.prebuilt import prebuilt_library, targets_here
from whispergpt.engine.native.targets import Target


@dataclass(frozen=True)
class Library:
    """The loaded kernels; ``name`` identifies them in the fingerprint, ``prebuilt`` are those of the installation."""

    functions: ctypes.CDLL
    name: str
    prebuilt: bool = False

    @property
    def label(self) -> str:
        """Return the name for logs, which says whether the kernels are the installation's."""
        return f"{self.name} (prebuilt)" if self.prebuilt else self.name


def load_library(target: Target | None = None) -> Library:
    """Load the kernels for this processor's fastest target, or for ``target``; compile them if none are prebuilt.

    Raises:
        NativeError: there are none, and they cannot be compiled or loaded here.
    """
    found = _load_once(target or processor_targets()[0])
    if isinstance(found, NativeError):
        raise found
    return found


@cache
def _load_once(target: Target) -> Library | NativeError:
    """Return the library or the error. Errors are cached too, so that a failing compiler runs only once."""
    try:
        try:
            if (path := prebuilt_library(target)) is not None:
                return open_library(path, prebuilt=True)
        except NativeError as error:
            sys.stderr.write(f"The prebuilt kernels for {target.name} are not used: {error}.\n")
        return _from_cache(target)
    except NativeError as error:
        return error
    except (OSError, RuntimeError) as error:
        return NativeError(f"the kernels could not be prepared ({error})")


def processor_targets(capability: str | None = None, features: frozenset[str] | None = None) -> list[Target]:
    """Return the targets that this processor can run, the fastest first.

    Args:
        capability: torch's name of the processor's vector units; None asks torch.
        features: features that all processors have, by Linux's names; None asks Linux.

    Raises:
        NativeError: there are no kernels for this processor.
    """
    capability = torch.backends.cpu.get_cpu_capability() if capability is None else capability
    features = _features() if features is None else features
    made_for = [target for target in targets_here() if not target.feature or target.feature in features]
    found = list(dropwhile(lambda target: not capability.startswith(target.capability), made_for))
    if not found:
        raise NativeError(f"there are no kernels for this processor ({platform.machine()}, {capability})")
    return found


@cache
def _features() -> frozenset[str]:
    """Return the features that every processor has, by Linux's names; none where Linux does not say them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    found = [frozenset(line.split()) for line in lines if line.startswith(("flags", "Features"))]
    return frozenset.intersection(*found) if found else frozenset()


def open_library(path: Path, prebuilt: bool = False) -> Library:
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
        functions.whispergpt_in_tiles.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        functions.whispergpt_free.argtypes = [ctypes.c_void_p]
        address, number = ctypes.c_void_p, ctypes.c_int
        functions.whispergpt_run.argtypes = [address, address, number, number, address]
        functions.whispergpt_run.restype = None
        for kernel in KERNELS:
            _declare(functions, kernel)
    except (OSError, AttributeError) as error:
        raise NativeError(f"the kernels could not be loaded ({error})") from None
    return Library(functions, library_name(path), prebuilt)


def _declare(functions: ctypes.CDLL, kernel: type[Kernel]) -> None:
    function, size = getattr(functions, kernel.symbol), getattr(functions, f"{kernel.symbol}_size")
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.POINTER(kernel)], None
    if size() != ctypes.sizeof(kernel):
        raise NativeError(f"the kernels take {kernel.__name__} in another layout")


def _from_cache(target: Target) -> Library:
    """Load a kept build, or build now; a build that cannot be kept serves this process alone."""
    name = file_name(target, compiler_version())
    try:
        folder = _cache()
        kept = folder / name
        if _is_ours(kept):
            try:
                return open_library(kept)
            except NativeError:
                pass  # damaged, so it is built again
        sys.stderr.write(f"The kernels for {target.name} are compiled now, since none are prebuilt.\n")
        return open_library(build(target, folder, name=name))
    except (NativeError, OSError) as error:
        if isinstance(error.__cause__, CompilerTimeout):
            raise
        unkept = error
    try:
        with Compilation(compile_command(target), Path(tempfile.gettempdir()), shared=False) as made:
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
