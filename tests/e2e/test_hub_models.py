"""A model that was pushed to the hub is served from there as from its folder, also when the hub is gone."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import encode, speech
from tests.support.corpus import run_main
from tests.support.http import HTTP
from tests.support.hub import TOKEN, hub_for_this_process
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import START_SECONDS, ServerProcess
from whispergpt.engine.checkpoints.checkpoint import save_model
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig, SamplingDefaults, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT

NAME = "me/voice"


def test_a_pushed_model_is_served_with_the_samples_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "voice"
    torch.manual_seed(0)
    config = replace(HYBRID, stack=StackConfig(256, 1, 4, 1, 256, 64), fine=FineConfig())
    save_model(folder, WhisperGPT(config), Codec(SMALL_CODEC), SamplingDefaults(), "CC0-1.0")
    prompt = encode(speech(1.0))
    with hub_for_this_process(monkeypatch, tmp_path) as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert run_main("train", "push", folder, NAME, "--private") == 0
        commit = hub.repositories[NAME].branches["main"]
        told = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_HUB_DISABLE_XET": "1"}
        with (
            ServerProcess("--model", f"hf://{NAME}", "--model", str(folder), environment=told) as server,
            Client(server.url, timeout=120) as client,
        ):

            def heard(model: str) -> bytes:
                """Return the samples; a wav's tags name its model."""
                return client.continue_file(prompt, seconds=1.0, seed=7, model=model, response_format="pcm").audio

            expected = heard("voice")
            assert heard(NAME) == expected
            listed = HTTP.get(f"{server.url}/v1/models").json()["data"]
            assert [(each["id"], each["revision"]) for each in listed] == [(NAME, commit), ("voice", None)]
            assert f'frames_total{{model="{NAME}"}}' in HTTP.get(f"{server.url}/metrics").text
            with client.stream(prompt, seconds=1.0, seed=7, model=NAME) as stream:
                assert b"".join(stream) and stream.session["model"] == NAME
            with pytest.raises(WhisperGPTError, match=f"There is no model 'me/other' here; there is {NAME}, voice"):
                heard("me/other")

            hub.repositories[NAME].commit({"config.json": b"another"})
            hub.status = 503
            (engine,) = server.engine_pids()
            os.kill(engine, signal.SIGKILL)
            wait_until(lambda: server.engine_pids() not in ([], [engine]), "another engine")
            wait_until(lambda: HTTP.get(f"{server.url}/health/ready").is_success, "a ready engine", START_SECONDS)
            assert heard(NAME) == expected
