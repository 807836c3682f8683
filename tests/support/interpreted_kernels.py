"""GPU kernels in Triton's interpreter, in each process of tests on a machine without a GPU.

Triton decides when a kernel is defined. So this module is imported before any other that defines kernels, and defines
them all.
"""

from __future__ import annotations

import os
from contextlib import suppress

import torch

_SWITCH = "TRITON_INTERPRET"

if not torch.cuda.is_available() and _SWITCH not in os.environ:
    os.environ[_SWITCH] = "1"
    import whispergpt.engine.gpu.prompt_path
    import whispergpt.engine.gpu.step  # noqa: F401

    with suppress(ImportError):  # imported at the first launch otherwise; without Triton there is none
        import triton.experimental.gluon.language  # noqa: F401
    del os.environ[_SWITCH]  # processes that tests start compute without kernels for GPUs
