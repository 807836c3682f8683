"""Models of the Hugging Face Hub: looked up, fetched, checked and pushed, against a hub on loopback."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from tests.support.corpus import one_line, run_main
from tests.support.hub import TOKEN, Hub, hub_for_this_process
from whispergpt.engine.checkpoints.checkpoint import ModelError, codec_hash, load_model, save_model
from whispergpt.engine.checkpoints.hub import fetch_model
from whispergpt.engine.checkpoints.hub_errors import HubError
from whispergpt.engine.checkpoints.manifest import manifest_of
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig, SamplingDefaults, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT

NAME = "me/voice"
CPU = torch.device("cpu")
CONFIG = replace(HYBRID, stack=StackConfig(256, 1, 4, 1, 256, 64), fine=FineConfig())
SIZES = "model.safetensors is 3,072.0 MiB long; at most 2048 MiB are fetched"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small whole model folder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "voice"
    save_model(folder, WhisperGPT(CONFIG), Codec(replace(SMALL_CODEC, n_filters=4)), SamplingDefaults(), "CC-BY-4.0")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_for_this_process(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the names of a model's files, which is fetched but not loaded."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "codec.safetensors"):
        (folder / name).write_text(f"the content of {name}")
    return folder


def push(monkeypatch: pytest.MonkeyPatch, source: Path, *options: str) -> int:
    with monkeypatch.context() as with_token:
        with_token.setenv("HF_TOKEN", TOKEN)
        return run_main("train", "push", source, NAME, *options)


def page_of(hub: Hub) -> tuple[dict[str, Any], str]:
    """The head and the text of the repository's page."""
    repository = hub.repositories[NAME]
    page = repository.commits[repository.branches["main"]]["README.md"].decode()
    _, head, text = page.split("---\n", 2)
    return yaml.safe_load(head), text


def test_a_push_is_a_whole_model_with_its_page(
    hub: Hub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run whose codec another one lends, with a checkpoint that would be unpickled beside it."""
    lender, run = tmp_path / "lender", tmp_path / "run"
    for copy in (lender, run):
        shutil.copytree(model, copy)
    config = json.loads((run / "config.json").read_text())
    config["codec"] = {"of": "lender", "sha256": codec_hash(lender)}
    (run / "config.json").write_text(json.dumps(config))
    (run / "codec.safetensors").unlink()
    (run / "last.pt").write_bytes(b"a pickle")
    (run / "log.jsonl").write_text('{"heldout_decoded": 3.5, "accuracy_decoded": 0.25}\n{"step": 2, "trai')
    (run / "drift.png").write_bytes(b"a picture")
    (run / "MODEL_CARD.md").write_text(
        "---\ndatasets: [me/sounds]\ntags: [piano]\n---\n# A voice\n![Drift](drift.png)\n"
    )
    assert push(monkeypatch, run, "--private") == 0
    repository = hub.repositories[NAME]
    commit = repository.branches["main"]
    assert capsys.readouterr().out.splitlines()[-1] == f"pushed hf://{NAME}@{commit}" and repository.private
    weights = {"model.safetensors", "codec.safetensors"}
    assert repository.commits[commit].keys() == {"config.json", *weights, "manifest.json", "README.md", "drift.png"}
    head, text = page_of(hub)
    assert text.strip() == "# A voice\n![Drift](drift.png)"
    assert (head["license"], head["library_name"], head["datasets"]) == ("cc-by-4.0", "whispergpt", ["me/sounds"])
    assert {"piano", "whisper-gpt"} <= set(head["tags"]) and head["metrics"] == ["nll", "perplexity", "accuracy"]
    figures = head["model-index"][0]["results"][0]["metrics"]
    assert {figure["type"]: figure["value"] for figure in figures} == {
        "nll": 3.5,
        "perplexity": 33.1155,
        "accuracy": 0.25,
    }

    before = load_model(str(run), CPU)
    shutil.rmtree(lender)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    loaded = load_model(f"hf://{NAME}@{commit}", CPU)
    assert (loaded.id, loaded.revision, before.revision) == (NAME, commit, None)
    for name, weight in before.step.state_dict().items():
        assert torch.equal(weight, loaded.step.state_dict()[name]), name


def test_the_page_has_what_eval_printed(hub: Hub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(model, tmp_path / "run")
    row = {"files": 3, "nll": 2.0, "perplexity": 7.4, "accuracy": 0.5}
    (tmp_path / "run" / "eval.json").write_text(json.dumps({"condition": "coarse", "models": [row]}))
    assert push(monkeypatch, tmp_path / "run") == 0
    head, text = page_of(hub)
    result = head["model-index"][0]["results"][0]
    assert result["dataset"] == {"name": "3 recordings", "type": "audio", "config": "coarse"}
    assert f"whispergpt serve --model hf://{NAME}" in text


def test_only_what_is_needed_is_fetched_once(hub: Hub, files: Path) -> None:
    for name in ("last.pt", "pytorch_model.bin", "README.md", "code.py"):
        (files / name).write_bytes(b"not asked for")
    commit = hub.add(NAME, files)
    fetched = fetch_model(f"hf://{NAME}")
    assert (fetched.id, fetched.commit, fetched.pinned) == (NAME, commit, f"hf://{NAME}@{commit}")
    assert {path.name for path in fetched.folder.iterdir()} == {"config.json", "model.safetensors", "codec.safetensors"}
    hub.asked.clear()
    assert fetch_model(fetched.pinned) == fetched and not hub.asked
    assert fetch_model(f"hf://{NAME}") == fetched and hub.asked == [("GET", f"/api/models/{NAME}")]


def test_a_revision_is_a_branch_or_a_commit(hub: Hub, files: Path) -> None:
    first = hub.add(NAME, files)
    second = hub.repositories[NAME].commit({"config.json": b"the second"})
    hub.repositories[NAME].branches["refs/pr/1"] = first
    for revision, commit in {"": second, f"@{first}": first, "@main": second, "@refs/pr/1": first}.items():
        fetched = fetch_model(f"hf://{NAME}{revision}")
        assert fetched.commit == commit
        assert ((fetched.folder / "config.json").read_bytes() == b"the second") == (commit == second)


def test_offline_the_cache_is_used(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is laid out by hand, as the hub's documentation describes it."""
    folder = Path(constants.HF_HUB_CACHE) / "models--me--voice"
    shutil.copytree(model, folder / "snapshots" / ("0" * 40))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_model(f"hf://{NAME}", CPU).revision == "0" * 40 and not hub.asked
    for name in (f"hf://{NAME}@other", "hf://me/other", f"hf://{NAME}@{'1' * 40}"):
        with pytest.raises(ModelError, match=f"^{name} is not in the cache at .*, and HF_HUB_OFFLINE forbids"):
            load_model(name, CPU)


REFUSALS = {
    "no repository": ("hf://me/other", "shows no repository hf://me/other: check the name, or set HF_TOKEN if"),
    "private": (f"hf://{NAME}", f"shows no repository hf://{NAME}: check the name, or set HF_TOKEN if"),
    "gated": (f"hf://{NAME}", f"^hf://{NAME} is gated: ask for access"),
    "no revision": (f"hf://{NAME}@v9", f"^hf://{NAME}@v9 has no such revision"),
    "no commit": (f"hf://{NAME}@{'2' * 40}", "has no such revision"),
    "a bad token": (f"hf://{NAME}", "asks for a valid token .*: set HF_TOKEN"),
    "a tired hub": (f"hf://{NAME}", f"^The hub at http://.* answers 503 for hf://{NAME}: the hub is tired"),
    "no network": (f"hf://{NAME}", "cannot be reached .*; check the network and HF_ENDPOINT, or set HF_HUB_OFFLINE=1"),
    "no network for a commit": (f"hf://{NAME}@{'3' * 40}", "cannot be reached .*; check the network"),
    "no model": (f"hf://{NAME}", "has no model.safetensors, so it is not a model that whispergpt can load"),
    "huge weights": (f"hf://{NAME}", SIZES),
    "huge config": (f"hf://{NAME}", "config.json is 2.0 MiB long; at most 1 MiB are fetched"),
    "not in the manifest": (f"hf://{NAME}", "manifest.json does not list codec.safetensors"),
    "not the manifest's": (f"hf://{NAME}", "config.json is damaged, its SHA-256 is .* delete .* to fetch it anew"),
    "no manifest": (f"hf://{NAME}", "manifest.json is not a list of digests"),
    "damaged": (f"hf://{NAME}", "model.safetensors is damaged, its SHA-256 is .* delete .* to fetch it anew"),
    "three parts": ("hf://me/voice/main", "does not name a model of the hub: write hf://OWNER/NAME"),
    "one part": ("hf://voice", "does not name a model of the hub"),
    "a path": ("hf://me/voice@../../x", "does not name a model of the hub"),
    "not allowed": ("hf://me/a--b", "^hf://me/a--b cannot be used: "),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_one_sentence(
    hub: Hub,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    case: str,
) -> None:
    hub.add(NAME, files, private=case == "private", gated=case == "gated")
    repository = hub.repositories[NAME]
    paths: dict[str, Path | bytes] = {path.name: path for path in files.iterdir()}
    match case:
        case "a bad token":
            monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        case "a tired hub":
            hub.status = 503
        case "no network" | "no network for a commit":
            monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        case "no model":
            del repository.commits[repository.branches["main"]]["model.safetensors"]
        case "huge weights":
            hub.claimed["model.safetensors"] = 3 * 2**30
        case "huge config":
            hub.claimed["config.json"] = 2 * 2**20
        case "not in the manifest":
            del paths["codec.safetensors"]
            repository.commit({"manifest.json": manifest_of(paths)})
        case "not the manifest's":
            repository.commit({"manifest.json": manifest_of({**paths, "config.json": b"another"})})
        case "no manifest":
            repository.commit({"manifest.json": b'{"sha256": [1]}'})
        case "damaged":
            hub.damaged.add("model.safetensors")
    name, sentence = REFUSALS[case]
    with pytest.raises(HubError, match=sentence) as refused:
        fetch_model(name)
    told = str(refused.value)
    assert told.endswith(".") and "\n" not in told and len(told) < 500
    if case in ("no repository", "damaged"):
        assert run_main("eval", tmp_path, "--model", name) == 2
        assert told in one_line(capsys)


def test_what_nothing_vouches_for_is_told(hub: Hub, files: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub.plain_tags = True
    hub.add(NAME, files)
    with caplog.at_level(logging.WARNING, "whispergpt.hub"):
        fetch_model(f"hf://{NAME}")
    assert caplog.messages == [
        f"hf://{NAME} has no manifest.json, and the hub gives no SHA-256: codec.safetensors and model.safetensors "
        "were not checked."
    ]


@pytest.mark.parametrize(("file", "sentence"), [("config.json", "does not describe"), ("model.safetensors", "are NaN")])
def test_what_arrives_is_checked_as_a_folder(hub: Hub, model: Path, tmp_path: Path, file: str, sentence: str) -> None:
    hostile = tmp_path / "hostile"
    shutil.copytree(model, hostile)
    if file == "config.json":
        (hostile / file).write_text((hostile / file).read_text().replace('"layers": 1', '"layers": 1000000000'))
    else:
        held = load_file(hostile / file)
        next(iter(held.values())).view(-1)[-1] = float("nan")
        save_file(held, hostile / file)
    hub.add(NAME, hostile)
    with pytest.raises(ModelError, match=f"{file} .*{sentence}"):
        load_model(f"hf://{NAME}", CPU)


@pytest.mark.parametrize(
    ("token", "name", "sentence"),
    [
        (None, NAME, "asks for a valid token for hf://me/voice: set HF_TOKEN"),
        ("hf_reads", NAME, "forbids this for hf://me/voice: set HF_TOKEN to a token with the right to do it"),
        (TOKEN, f"{NAME}@v1", "A model is pushed to OWNER/NAME, without a revision"),
        (TOKEN, "voice", "'hf://voice' does not name a model of the hub"),
    ],
)
def test_a_push_that_fails_is_one_sentence(
    hub: Hub,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str | None,
    name: str,
    sentence: str,
) -> None:
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    assert run_main("train", "push", model, name) == 2
    assert sentence in one_line(capsys) and not hub.repositories


def test_nothing_is_pushed_offline(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run_main("train", "push", model, NAME) == 2
    assert "HF_HUB_OFFLINE is set, and nothing can be pushed offline" in one_line(capsys) and not hub.asked
