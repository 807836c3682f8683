"""``whispergpt serve`` with a model folder that cannot be used: one line that names the file, and status 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from whispergpt.benchmarks.attacks.tools.server_process import ROOT, START_SECONDS
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


@pytest.mark.parametrize("spoil", [break_config, break_codec, leave_out_weights])
def test_a_model_that_cannot_be_used_ends_the_start(tmp_path: Path, spoil: object) -> None:
    folder = tmp_path / "model"
    shutil.copytree(INSTALLED / "speech", folder)
    assert callable(spoil)
    told = spoil(folder)
    command = [sys.executable, "-P", "-m", "whispergpt.cli.main", "serve", "--port", "0", "--model", str(folder)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == f"whispergpt serve: {told}"
    assert "Traceback" not in done.stderr and done.stdout == ""
