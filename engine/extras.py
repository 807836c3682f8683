"""Optional packages, each in an extra of ``pyproject.toml``, and the one sentence that names a missing one."""

from __future__ import annotations

from importlib.util import find_spec

IN_CLONE = {"whispergpt-client": "./clients/python '.[{extra}]'", "sounddevice": "'./clients/python[play]'"}
"""Arguments of pip in a clone of this repository, for packages of extras that name its client."""


class MissingPackageError(ValueError):
    """A package that this installation lacks; the message says what to install."""


def install_command(extra: str) -> str:
    """Return the command that installs an extra: from an index, and in a clone that is installed itself."""
    return f"pip install 'whispergpt[{extra}]'"


def missing_package(purpose: str, package: str, extra: str, reason: str = "is not installed") -> str:
    """Return the sentence for a missing package.

    Args:
        purpose: what needs the package, as the sentence begins: ``"PESQ"``.
        package: the distribution's name.
        extra: the extra of ``whispergpt`` that has it.
        reason: what is wrong with the package.
    """
    in_clone = f" (in a clone: pip install {IN_CLONE[package].format(extra=extra)})" if package in IN_CLONE else ""
    return f"{purpose} needs the package {package}, which {reason}: {install_command(extra)}{in_clone}."


def require_package(module: str, purpose: str, extra: str, package: str | None = None) -> None:
    """Check that a module can be found, without importing it; of a dotted one, the modules above are imported.

    Args:
        module: the module's full name.
        purpose: what needs it, as the sentence begins.
        extra: the extra of ``whispergpt`` that has it.
        package: the distribution's name, where that is not the module's.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # a module above it is missing
        found = False
    if not found:
        raise MissingPackageError(missing_package(purpose, package or module, extra))
