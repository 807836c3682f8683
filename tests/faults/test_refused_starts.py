"""``whispergpt serve`` with a model folder or device that cannot be used: one line that names it, and status 2."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from whispergpt.benchmarks.attacks.tools.server_process import ROOT, START_SECONDS
from whispergpt.engine.checkpoints.checkpoint import ModelError, load_model
from whispergpt.engine.checkpoints.installed import INSTALLED


def break_config(folder: Path) -> str:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["model"]["stack"]["window"] = 10**9
    path.write_text(json.dumps(values))
    return f"{path} does not describe a model: ModelConfig: Expected `int` <= 8192 - at `$.stack.window`."


def break_codec(folder: Path) -> str:
    path = folder / "codec.safetensors"
    weights = load_file(path)
    name = sorted(weights)[-1]
    weights[name].view(-1)[0] = float("nan")
    path.unlink()
    save_file(weights, path)
    return f"{path} holds numbers that are NaN or infinite, in {name!r}."


def leave_out_weights(folder: Path) -> str:
    path = folder / "model.safetensors"
    path.unlink()
    return f"{path} is missing, or is not a regular file."


def test_a_model_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    """Each is refused in words of its own, and the server passes on what it is told."""
    for spoil in (break_config, leave_out_weights, break_codec):
        folder = tmp_path / spoil.__name__
        shutil.copytree(INSTALLED / "speech", folder)
        told = spoil(folder)
        with pytest.raises(ModelError, match=f"^{re.escape(told)}$"):
            load_model(str(folder), torch.device("cpu"))
    assert refusal(tmp_path, "--model", str(folder)) == f"whispergpt serve: {told}"


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("all", r"This machine has no CUDA device that torch \S+ can use\."),
        ("cpu,cuda:63", r"This machine has no device 'cuda:63' that torch \S+ can use\."),
    ],
)
def test_a_device_that_is_not_there_ends_the_start(tmp_path: Path, device: str, told: str) -> None:
    assert re.fullmatch(f"whispergpt serve: {told}", refusal(tmp_path, "--device", device, "--model", "speech"))


def refusal(home: Path, *arguments: str) -> str:
    """The last line of a server that does not start, on a machine without a GPU."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "whispergpt.cli.main", "serve", "--port", "0", *arguments],
        cwd=home,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    return done.stderr.splitlines()[-1]
