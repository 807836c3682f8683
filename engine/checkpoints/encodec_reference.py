"""Import of the ``encodec`` package, the reference of the parity tests; serving never uses it."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


class _Absent(ModuleType):
    """A module in place of torchaudio; any use of it raises an error that says what is missing."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"torchaudio.{name} is needed, but torchaudio cannot be imported here")


def import_encodec() -> ModuleType:
    """Import the ``encodec`` package, also where torchaudio does not work.

    ``encodec`` imports torchaudio for resampling and for its discriminator, not for the model. The published wheel of
    torchaudio needs CUDA's libraries and cannot be imported beside a CPU torch. There an empty module takes its place,
    only while ``encodec`` is imported, so that no other code finds it.

    Raises:
        ImportError: ``encodec`` is not installed.
    """
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):  # OSError: a shared library of CUDA is missing.
        sys.modules["torchaudio"] = _Absent("torchaudio")
        try:
            return importlib.import_module("encodec")
        finally:
            del sys.modules["torchaudio"]
    return importlib.import_module("encodec")
