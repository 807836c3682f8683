"""The loader of the published weights, on a checkpoint of the same layout with random values."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from whispergpt.engine.checkpoints import encodec_weights
from whispergpt.engine.checkpoints.encodec_reference import import_encodec
from whispergpt.engine.checkpoints.encodec_weights import (
    CHECKPOINT,
    NAME,
    URL,
    WeightsError,
    fetch_checkpoint,
    load_encodec,
)

Published = tuple[Any, Path]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """EnCodec's 24 kHz model with random weights, and its checkpoint as the package would save it."""
    torch.manual_seed(1)
    model = import_encodec().EncodecModel.encodec_model_24khz(pretrained=False)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_()
        layer._codebook.inited.fill_(1)
    path = tmp_path_factory.mktemp("published") / "saved.th"
    torch.save(model.state_dict(), path)
    return model, path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHISPERGPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checksum_fits(published: Published, monkeypatch: pytest.MonkeyPatch) -> str:
    """The published file's name, with the checksum of our random checkpoint."""
    name = f"encodec_24khz-{hashlib.sha256(published[1].read_bytes()).hexdigest()[:8]}.th"
    monkeypatch.setattr(encodec_weights, "CHECKPOINT", name)
    return name


@pytest.fixture
def server(published: Published) -> Iterator[tuple[str, list[str]]]:
    """A local HTTP server that has the checkpoint; ``(its URL, the paths asked of it)``."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(published[1].parent)))
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/saved.th", asked
    httpd.shutdown()
    httpd.server_close()


@torch.inference_mode()
def test_a_local_checkpoint_computes_what_encodec_computes(published: Published) -> None:
    model, path = published
    codec = load_encodec(path)
    assert not codec.training
    assert len(codec.quantizer.codebooks) == 8
    audio = torch.randn(1, 1, 320 * 9 + 5)
    latents = model.encoder(audio)
    assert (codec.encoder(audio) - latents).abs().max() < 1e-5
    model.set_target_bandwidth(6.0)
    codes = model.quantizer.encode(latents, 75, 6.0).transpose(0, 1)
    assert torch.equal(codec.quantizer.encode(latents), codes)
    assert (codec.decode(codes) - model.decode([(codes, None)])).abs().max() < 1e-5


def test_safetensors_load_too_without_what_only_training_needs(published: Published, tmp_path: Path) -> None:
    model, path = published
    skipped = ("inited", "cluster_size", "embed_avg")
    weights = {key: value.clone() for key, value in model.state_dict().items() if not key.endswith(skipped)}
    save_file(weights, tmp_path / "weights.safetensors")
    ours, same = load_encodec(path).state_dict(), load_encodec(tmp_path / "weights.safetensors").state_dict()
    assert all(torch.equal(ours[key], same[key]) for key in ours if not key.endswith(skipped))


def test_by_name_fetches_once_and_then_takes_the_cache(
    cache: Path, checksum_fits: str, server: tuple[str, list[str]], published: Published
) -> None:
    url, asked = server
    first = load_encodec(NAME, url)
    second = load_encodec(NAME, url)
    assert len(asked) == 1
    assert sorted(file.name for file in cache.iterdir()) == [checksum_fits]
    expected = published[0].state_dict()["quantizer.vq.layers.7._codebook.embed"]
    for codec in (first, second):
        assert torch.equal(codec.quantizer.codebooks[7].embed, expected)


def test_a_wrong_checksum_is_refused_and_not_kept(cache: Path, server: tuple[str, list[str]]) -> None:
    with pytest.raises(WeightsError, match=r"SHA-256 starts with [0-9a-f]{8} and should start with d7cc33bc"):
        load_encodec(NAME, server[0])
    assert list(cache.iterdir()) == []


def test_a_damaged_cache_is_refused(cache: Path, checksum_fits: str, published: Published) -> None:
    cache.mkdir()
    content = bytearray(published[1].read_bytes())
    content[len(content) // 2] ^= 1
    (cache / checksum_fits).write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        fetch_checkpoint("http://127.0.0.1:9/never-asked")


def test_an_endless_download_is_cut(
    cache: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodec_weights, "MAX_BYTES", 2**20)
    with pytest.raises(WeightsError, match="more than 1 MiB"):
        load_encodec(NAME, server[0])
    assert list(cache.iterdir()) == []


def test_no_network_is_one_sentence(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"could not be fetched from http://127.0.0.1:9/x: .*refused"):
        load_encodec(NAME, "http://127.0.0.1:9/x")


def test_unusable_files_are_named(published: Published, tmp_path: Path) -> None:
    text = tmp_path / "notes.th"
    text.write_text("these are not weights")
    safetensors = tmp_path / "notes.safetensors"
    safetensors.write_text("nor are these")
    objects = tmp_path / "objects.th"
    torch.save({"config": "a string"}, objects)
    for path in (text, safetensors, tmp_path):
        with pytest.raises(WeightsError, match=f"{path} cannot be read as weights"):
            load_encodec(path)
    with pytest.raises(WeightsError, match="something other than named tensors"):
        load_encodec(objects)
    with pytest.raises(WeightsError, match="no weights file"):
        load_encodec(tmp_path / "absent.th")

    state = dict(published[0].state_dict())
    del state["decoder.model.0.conv.conv.bias"]
    torch.save(state, text)
    with pytest.raises(WeightsError, match="has no decoder"):
        load_encodec(text)
    state = {**published[0].state_dict(), "decoder.model.0.conv.conv.bias": torch.zeros(3)}
    torch.save(state, text)
    with pytest.raises(WeightsError, match=r"is \(3,\) and should be \(512,\)"):
        load_encodec(text)
    del state["encoder.model.0.conv.conv.weight_g"]
    torch.save(state, text)
    with pytest.raises(WeightsError, match="has only encoder"):
        load_encodec(text)


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    torch.save({"weight": Malicious()}, tmp_path / "bad.th")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_encodec(tmp_path / "bad.th")
    assert not (tmp_path / "ran").exists()


def test_name_and_address_are_those_of_the_package() -> None:
    model_file = Path(str(import_encodec().__file__)).with_name("model.py").read_text()
    root, _, name = URL.rpartition("/")
    assert name == CHECKPOINT
    assert f"'{root}/'" in model_file and f"'{CHECKPOINT}'" in model_file


def test_serving_imports_neither_encodec_nor_torchaudio() -> None:
    program = """
import importlib, pkgutil, sys
import whispergpt.engine, whispergpt.server
for package in (whispergpt.engine, whispergpt.server):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
assert not {"encodec", "torchaudio"} & set(sys.modules), "imported for serving"
"""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "whispergpt.engine.model.codec" in done.stdout.split()


def test_the_stand_in_for_torchaudio_is_gone_after_the_import() -> None:
    assert import_encodec().EncodecModel
    assert type(sys.modules.get("torchaudio", sys)) is ModuleType
