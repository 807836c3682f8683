"""Whether this machine is to run the compiled kernels: then a test that finds none has found a fault."""

from __future__ import annotations

import shutil

from whispergpt.engine.native.library import NativeError, processor_levels


def kernels_expected() -> bool:
    try:
        processor_levels()
    except NativeError:
        return False
    return shutil.which("g++") is not None or shutil.which("c++") is not None
