"""Check of the installed libraries' versions against those that this package needs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from whispergpt.server.serve_error import ServeError


def check_libraries() -> None:
    """Check the versions of all libraries that are required without an extra.

    The protocols build on private parts of some libraries, so that a server with another version would start and then
    fail every WebSocket. Preliminary versions count as the version they precede.

    Raises:
        ServeError: a library is too old or too new.
    """
    wrong = [each for each in map(Requirement, _required()) if not _fits(each)]
    if wrong:
        there = " and ".join(f"{each.name} {version(each.name)}" for each in wrong)
        install = " ".join(f"'{each.name}{each.specifier}'" for each in wrong)
        told = f"{there} cannot be used, which another package may have installed: pip install {install}"
        raise ServeError(f"{told}, and that package in an environment of its own.", 2)


def _required() -> list[str]:
    try:
        return requires("whispergpt") or []
    except PackageNotFoundError:  # run from a folder of sources
        return []


def _fits(needed: Requirement) -> bool:
    if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
        return True
    try:
        return needed.specifier.contains(Version(version(needed.name)).base_version)
    except PackageNotFoundError:  # its import says so
        return True
