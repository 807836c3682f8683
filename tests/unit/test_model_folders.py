"""Broken and hostile model folders: each is refused in one sentence that names the file, before room is made for it."""

from __future__ import annotations

import copy
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from whispergpt.engine.checkpoints.checkpoint import ModelError, load_model, save_model
from whispergpt.engine.checkpoints.installed import installed_models
from whispergpt.engine.config import SMALL_CODEC, FineConfig, ModelConfig, SamplingDefaults, StackConfig
from whispergpt.engine.engine import Engine
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.rotary import PERIOD
from whispergpt.engine.model.whisper_gpt import WhisperGPT

ROOM_BYTES = 192 * 2**20
"""What loading may take beyond the interpreter; the good folder takes 20 MB, a hostile one asks for up to terabytes."""
SIZES = ModelConfig(
    StackConfig(64, 2, 2, 1, 64, 32), 32, StackConfig(32, 1, 1, 1, 64, 16), fine=FineConfig(width=32, n_codebooks=8)
)
DELETED = object()
Values = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small whole model folder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "good"
    save_model(folder, WhisperGPT(SIZES), Codec(SMALL_CODEC), SamplingDefaults(), "CC0-1.0")
    return folder


def changed(path: str, value: object) -> Callable[[Values], str]:
    """Writes ``config.json`` with one value replaced, or left out."""

    def write(values: Values) -> str:
        *parents, last = path.split(".")
        inner = values
        for name in parents:
            inner = inner[name]
        if value is DELETED:
            del inner[last]
        else:
            inner[last] = value
        return json.dumps(values)

    return write


def replaced(old: str, new: str) -> Callable[[Values], str]:
    def write(values: Values) -> str:
        text = json.dumps(values)
        assert old in text
        return text.replace(old, new)

    return write


def tensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


HALF = {"dtype": "F16", "shape": [4]}
CONFIGS: dict[str, Callable[[Values], str]] = {
    "width as text": changed("model.stack.width", "256"),
    "heads negative": changed("model.stack.heads", -4),
    "heads 0": changed("model.stack.heads", 0),
    "heads that do not divide": changed("model.stack.heads", 3),
    "head width odd": changed("model.stack.heads", 64),
    "kv_heads 0": changed("model.stack.kv_heads", 0),
    "kv_heads that do not divide": changed("model.stack.kv_heads", 3),
    "window huge": changed("model.stack.window", 10**9),
    "window beyond rotary positions": changed("model.stack.window", PERIOD + 1),
    "window 0": changed("model.stack.window", 0),
    "window negative": changed("model.stack.window", -5),
    "hidden huge": changed("model.stack.hidden", 10**9),
    "hidden within its range": changed("model.stack.hidden", 131_072),
    "hidden 1e30": changed("model.stack.hidden", 10**30),
    "layers huge": changed("model.stack.layers", 10**9),
    "layers within their range": changed("model.stack.layers", 256),
    "layers a fraction": changed("model.stack.layers", 2.5),
    "layers true": changed("model.stack.layers", True),
    "layers left out": changed("model.stack.layers", DELETED),
    "filters huge": changed("codec.n_filters", 10**7),
    "filters within their range": changed("codec.n_filters", 1024),
    "filters 1": changed("codec.n_filters", 1),
    "ratio 0": changed("codec.ratios", [0, 5, 4, 2]),
    "ratios null": changed("codec.ratios", None),
    "ratios empty": changed("codec.ratios", []),
    "ratios of another frame": changed("codec.ratios", [8, 5, 4, 4]),
    "fewer codebooks": changed("codec.n_codebooks", 4),
    "fine stage of fewer codebooks": changed("model.fine.n_codebooks", 4),
    "padding": changed("codec.pad_mode", "evil"),
    "kernel huge": changed("codec.kernel_size", 10**6),
    "mel bands huge": changed("model.mel.n_mels", 10**8),
    "mel window huge": changed("model.mel.window", 10**10),
    "mel window short": changed("model.mel.window", 100),
    "mel floor 0": changed("model.mel.floor", 0),
    "mel floor too small for float32": changed("model.mel.floor", 1e-60),
    "mel floor NaN": replaced("1e-05", "NaN"),
    "mel floor infinite": replaced("1e-05", "1e999"),
    "mel bands upside down": changed("model.mel.low_hz", 12_000.0),
    "fine a list": changed("model.fine", [1]),
    "stack null": changed("model.stack", None),
    "model a list": changed("model", [1, 2]),
    "model left out": changed("model", DELETED),
    "unknown field": changed("model.stack.depth", 3),
    "temperature as text": changed("sampling.temperature", "hot"),
    "temperature NaN": replaced('"sampling": {"temperature": 1.0', '"sampling": {"temperature": NaN'),
    "sampling a list": changed("sampling", [1]),
    "top_k huge": changed("sampling.top_k", 10**12),
    "top_p 0": changed("sampling.top_p", 0),
    "deep": lambda _: '{"format":1,"model":' + "[" * 200_000 + "]" * 200_000 + "}",
    "long": lambda _: '{"format":1,"licence":"' + "x" * 2**20 + '"}',
    "byte order mark": lambda values: "\ufeff" + json.dumps(values),
    "another format": changed("format", 2),
    "empty": lambda _: "",
    "codec of a path": changed("codec", {"of": "../../../../etc", "sha256": "x"}),
    "codec of no text": changed("codec", {"of": [1], "sha256": "x"}),
    "codec of itself": changed("codec", {"of": "codec of itself", "sha256": "x"}),
    "codec of a name": changed("codec", "other"),
    "licence huge": changed("licence", "x" * 10_000),
    "licence a list": changed("licence", ["x"]),
}
MODELS: dict[str, bytes | None] = {
    "header of 2^63": struct.pack("<Q", 2**63) + b"{}",
    "header of 99 MB": struct.pack("<Q", 99_000_000) + b"{",
    "empty file": b"",
    "no tensors": tensors({}),
    "overlap": tensors({"a": HALF | {"data_offsets": [0, 8]}, "b": HALF | {"data_offsets": [4, 12]}}, b"\0" * 12),
    "negative offset": tensors(b'{"a":{"dtype":"F16","shape":[4],"data_offsets":[-8,0]}}', b"\0" * 8),
    "huge shape": tensors({"a": {"dtype": "F16", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, b"\0" * 8),
    "unknown type": tensors({"a": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}, b"\0" * 2),
    "a pickle": b"\x80\x02}q\x00.",
    "left out": None,
}
NAMES = [
    *CONFIGS,
    *MODELS,
    "whole header longer than is parsed",
    "tensor left out",
    "tensor cut",
    "integers",
    "a folder",
]

LOAD_ALL = """
import json, resource, sys
from pathlib import Path
import torch
from whispergpt.engine.checkpoints.checkpoint import ModelError, load_model
cpu = torch.device("cpu")
room, good, *folders = sys.argv[1:]
load_model(good, cpu)
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(room),) * 2)
told = {}
for folder in folders:
    try:
        load_model(folder, cpu)
    except ModelError as error:
        told[Path(folder).name] = str(error)
    except BaseException as error:
        told[Path(folder).name] = f"{type(error).__name__} and not ModelError: {str(error)[:300]}"
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def refusals(good: Path) -> dict[str, str]:
    """What loading each folder says, in one process whose memory is bounded."""
    folders = [write_folder(good, name) for name in NAMES]
    command = [sys.executable, "-c", LOAD_ALL, str(ROOM_BYTES), str(good), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, str] = json.loads(done.stdout)
    return told


def write_folder(good: Path, name: str) -> Path:
    folder = good.parent / name
    shutil.copytree(good, folder)
    weights = folder / "model.safetensors"
    if name in CONFIGS:
        values = json.loads((good / "config.json").read_text())
        (folder / "config.json").write_text(CONFIGS[name](copy.deepcopy(values)))
    elif name in MODELS:
        weights.unlink()
        if (content := MODELS[name]) is not None:
            weights.write_bytes(content)
    elif name == "a folder":
        weights.unlink()
        weights.mkdir()
    elif name == "whole header longer than is parsed":
        weights.write_bytes(tensors(b"{}" + b" " * (5 * 2**20)))
    else:
        held = load_file(weights)
        first = sorted(held)[0]
        if name == "tensor left out":
            del held[first]
        else:
            held[first] = held[first][:1].clone() if name == "tensor cut" else held[first].to(torch.int8)
        save_file(held, weights)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_folder_is_told_in_one_sentence(refusals: dict[str, str], name: str) -> None:
    assert name in refusals, "it was loaded"
    told = refusals[name]
    assert "not ModelError" not in told, told
    assert told.endswith(".") and "\n" not in told and len(told) < 400, told
    assert "config.json" in told or ".safetensors" in told or "uses the codec of" in told, told


@pytest.mark.parametrize("which", ["model", "codec"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_numbers_that_are_none_are_refused(good: Path, tmp_path: Path, which: str, value: float, place: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    path = folder / f"{which}.safetensors"
    held = load_file(path)
    name = sorted(held)[{"first": 0, "middle": len(held) // 2, "last": -1}[place]]
    held[name].view(-1)[-1] = value
    save_file(held, path)
    with pytest.raises(ModelError, match=rf"{which}\.safetensors holds numbers that are NaN or infinite") as refused:
        load_model(str(folder), torch.device("cpu"))
    assert name in str(refused.value)


def test_more_streams_than_memory_are_refused_before_they_are_kept(good: Path) -> None:
    with pytest.raises(ModelError, match=r"'good' needs .* GiB for 10000000 streams"):
        Engine.load(str(good), "cpu", max_streams=10_000_000)


def test_a_folder_is_checked_without_torchs_compiler() -> None:
    code = (
        "import sys, torch\nfrom whispergpt.engine.checkpoints.checkpoint import describe_model, load_model\n"
        "describe_model('speech')\nload_model('speech', torch.device('cpu'))\n"
        "print([name for name in ('torch._dynamo', 'torch._inductor', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_a_name_that_is_no_path_is_no_model() -> None:
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(ModelError, match="There is no model"):
            load_model(name, torch.device("cpu"))


@pytest.mark.parametrize("name", installed_models())
def test_embedded_models_load(name: str) -> None:
    """Also those that are lent another one's codec, which may have got another decoder."""
    assert load_model(name, torch.device("cpu")).id == name
