"""The one place that imports the ``encodec`` package, the reference of the parity tests. Serving never comes here."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


class _Absent(ModuleType):
    """Stands where torchaudio would; any use of it says what is missing."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"torchaudio.{name} is needed, but torchaudio cannot be imported here")


def import_encodec() -> ModuleType:
    """The ``encodec`` package, also where torchaudio does not work.

    ``encodec`` imports torchaudio for resampling and for its discriminator, not for the model. The published wheel of
    torchaudio needs CUDA's libraries and fails beside a CPU torch, and an import that fails takes the model with it.
    Where the real one cannot be imported, an empty module takes its place while ``encodec`` is imported, and no longer,
    so that nothing else believes torchaudio to be there.

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
