"""What each process loads before it can say anything: nothing heavy that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEVER = {
    *("encodec", "torchaudio", "transformers", "huggingface_hub"),
    *("matplotlib", "scipy", "librosa", "onnxruntime", "torch._dynamo"),
}


@pytest.mark.parametrize(
    ("module", "besides"),
    [
        ("whispergpt.cli.main", {"torch", "numpy", "fastapi", "av", "soxr"}),  # so that --help answers at once
        ("whispergpt.server.serving", {"torch"}),  # the server computes nothing
        ("whispergpt.cli.serve", {"torch", "fastapi", "av"}),  # so that the engine starts at once
        (
            "whispergpt.engine.audio.nursery",
            {"torch", "fastapi", "uvicorn", "pydantic", "zmq", "whispergpt.server"},
        ),  # what decoders have
        ("whispergpt.engine.process.worker", {"fastapi", "uvicorn", "prometheus_client", "av"}),
    ],
)
def test_imports_stay_light(module: str, besides: set[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout
    assert not set(said.split()) & (NEVER | besides)
