"""Whether this machine is to run the compiled kernels: then a test that finds none has found a fault."""

from __future__ import annotations

import shutil

from whispergpt.engine.native.builds import NativeError
from whispergpt.engine.native.library import processor_targets
from whispergpt.engine.native.prebuilt import prebuilt_library


def kernels_expected() -> bool:
    try:
        if any(prebuilt_library(target) for target in processor_targets()):
            return True
    except NativeError:
        return False
    return shutil.which("g++") is not None or shutil.which("c++") is not None
