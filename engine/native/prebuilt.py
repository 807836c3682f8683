"""Kernels that an installation brings along: compiled when it was built, for every target of the architecture.

``setup.py`` builds them into this package, so that wheels and images have them. Like ``builds`` it needs nothing but
the standard library. ``python -m whispergpt.engine.native.prebuilt`` builds those that are missing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from whispergpt.engine.native.builds import NativeError, build, file_name
from whispergpt.engine.native.targets import TARGETS, Target

FOLDER = Path(__file__).parent / "built"
CHECKSUMS = "SHA256SUMS"
"""File with the digests of the others, in the format of ``sha256sum``: a damaged library can crash its process."""
FLAGS = ("-s", "-fno-sized-deallocation", "-D__throw_bad_array_new_length=__throw_bad_alloc")
"""Further flags: no symbols for debugging, and no functions of libstdc++ that older systems lack."""
_NEEDED = re.compile(r"\b(GLIBC|GLIBCXX|CXXABI|GCC)_(\d+(?:\.\d+)*)")
_MANYLINUX_2_17 = {"GLIBC": (2, 17), "GLIBCXX": (3, 4, 19), "CXXABI": (1, 3, 7), "GCC": (4, 8, 0)}
"""Highest versions of symbols in manylinux_2_17 (PEP 599), the lowest platform that wheels are tagged with."""


def targets_here() -> list[Target]:
    """Return the targets of this machine's architecture."""
    return [target for target in TARGETS if platform.machine() in target.machines]


def prebuilt_library(target: Target, folder: Path = FOLDER) -> Path | None:
    """Return the path of the prebuilt kernels for ``target``; None if there are none of the present sources.

    Raises:
        NativeError: they are damaged.
    """
    path = folder / file_name(target)
    if not path.exists():
        return None
    try:
        found = f"{_digest(path)}  {path.name}" in (folder / CHECKSUMS).read_text().splitlines()
    except OSError as error:
        raise NativeError(f"{error.filename} cannot be read ({error.strerror})") from None
    if not found:
        raise NativeError(f"{path} is damaged: its digest is not in {CHECKSUMS}")
    return path


def build_missing(folder: Path = FOLDER, targets: Sequence[Target] | None = None) -> list[str]:
    """Compile into ``folder`` the kernels of ``targets`` that are not there, in parallel, and remove outdated ones.

    Args:
        targets: by default all of this machine's architecture.

    Returns:
        The failures, each as a part of a sentence.

    Raises:
        OSError: the folder cannot be written.
    """
    targets = targets_here() if targets is None else targets
    if not targets:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        failures = list(threads.map(lambda target: _build_if_missing(target, folder), targets))
    names = {file_name(target) for target in targets}
    lines = ""
    for path in sorted(folder.glob("kernels-*")):
        if path.name in names:
            lines += f"{_digest(path)}  {path.name}\n"
        else:
            path.unlink()
    partial = folder / f"{CHECKSUMS}.{os.getpid()}"
    partial.write_text(lines)
    partial.replace(folder / CHECKSUMS)
    return list(dict.fromkeys(failure for failure in failures if failure))


def _build_if_missing(target: Target, folder: Path) -> str:
    """Compile the kernels for ``target`` unless they are there; return why that failed, or an empty string."""
    try:
        if prebuilt_library(target, folder) is not None:
            return ""
    except NativeError:
        pass
    try:
        (folder / file_name(target)).unlink(missing_ok=True)
        build(target, folder, *FLAGS)
    except NativeError as error:
        return str(error)
    return ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def platform_tag(libraries: Iterable[Path]) -> str | None:
    """Return the platform of a wheel with these libraries, such as ``manylinux_2_17_x86_64`` (PEP 600).

    It is found from the versions of the system's symbols that the libraries need, by ``readelf``. The result is None
    where there is none, with another C library than glibc, and with symbols of libstdc++ that manylinux_2_17 lacks.
    """
    try:
        listed = subprocess.run(
            ["readelf", "--version-info", "--wide", *map(str, libraries)], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = {(name, tuple(map(int, version.split(".")))) for name, version in _NEEDED.findall(listed)}
    glibc = [version for name, version in found if name == "GLIBC"]
    if not glibc or any(name != "GLIBC" and version > _MANYLINUX_2_17[name] for name, version in found):
        return None
    major, minor = max((2, 17), *(version[:2] for version in glibc))
    return f"manylinux_{major}_{minor}_{platform.machine()}"


def main() -> int:
    """Build what is missing, and print the prebuilt kernels; return 1 if some cannot be built."""
    try:
        failures = build_missing()
    except OSError as error:
        failures = [f"{FOLDER} cannot be written ({error.strerror})"]
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    for path in sorted(FOLDER.glob("*.so")):
        sys.stdout.write(f"{path}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
