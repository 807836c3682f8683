"""From a folder of audio to a listener: every stage of the training, then the server, as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from whispergpt_client import Client

from tests.support.audio import encode, samples_of, speech
from tests.support.corpus import run_main, speakers
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

CODEC = ("--steps", 12, "--quantize-from", 4, "--adversarial-from", 8, "--batch", 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder trained on little, its fine stage included."""
    root = tmp_path_factory.mktemp("training")
    data, codec, model = root / "data", root / "codec", root / "tones"
    assert run_main("train", "prepare", speakers(root / "audio"), "-o", data) == 0
    assert run_main("train", "codec", data, "-o", codec, *CODEC) == 0
    assert run_main("train", "lm", data, "--codec", codec, "-o", model, "--steps", 3, "--batch", 2) == 0
    return model


def test_what_was_trained_is_served(trained: Path) -> None:
    with ServerProcess("--model", str(trained)) as server, Client(server.url) as client:
        assert [model.id for model in client.models()] == ["tones"]
        answers = [client.continue_file(encode(speech(1.0)), seconds=1.0, seed=7).audio for _ in range(2)]
    assert answers[0] == answers[1]
    audio = samples_of(answers[0])
    assert len(audio) == 75 * 320 and np.abs(audio).max() > 0


def test_the_log_tells_of_every_stage(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained.parent / "codec" / "log.jsonl").read_text().splitlines()]
    assert {"heldout_8", "heldout_1", "perplexity_0"} <= set().union(*lines)
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {"heldout_decoded", "heldout_coarse", "accuracy_original", "fine_decoded", "unigram_nll"} <= set().union(
        *lines
    )


def test_what_was_trained_is_measured(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = [path.name for path in (trained.parent / "data" / "tokens").iterdir()]
    assert len([name for name in tokens if name.endswith(".npy")]) == 8, "codes and three versions' slices, twice"
    assert not any("partial" in name for name in tokens)
    capsys.readouterr()
    audio = next(path for path in sorted((trained.parent / "audio").iterdir()) if path.is_dir())
    assert run_main("eval", audio, "--model", trained, "--condition", "coarse", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    row = result["models"][0]
    assert (result["condition"], row["model"], row["files"], row["frames"]) == ("coarse", "tones", 2, 2 * 599)
    assert row["perplexity"] == pytest.approx(np.exp(row["nll"])) and 0 <= row["accuracy"] <= 1
