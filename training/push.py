"""Upload of a model to the Hugging Face Hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from whispergpt.engine.checkpoints.checkpoint import codec_folder, find_model, load_model
from whispergpt.engine.checkpoints.hub import SCHEME, HubModel, hub_client, parse_hub_name
from whispergpt.engine.checkpoints.hub_errors import HubError, explained
from whispergpt.engine.checkpoints.installed import package_version
from whispergpt.engine.checkpoints.manifest import MANIFEST, manifest_of

PAGE = "README.md"
_SHOWN = re.compile(r"\]\(([\w-][\w.-]*\.(?:png|jpg|svg|jsonl))\)", re.ASCII)
"""Link of a card to a picture or a log beside it."""


def push_model(source: str, repository: str, private: bool = False) -> HubModel:
    """Upload a model with its card and the digests of its files, as one commit of the hub's ``main``.

    A codec that the model shares with another is uploaded with it, so that the repository is whole.

    Args:
        source: the folder of a run or of a model, or what ``--model`` takes.
        repository: ``OWNER/NAME``, which is made if it does not exist.
        private: whether a repository that is made is private.

    Returns:
        The repository, the commit and the folder that was uploaded.

    Raises:
        ModelError: the model cannot be loaded.
        HubError: the name is not valid, or the hub does not take the model.
        MissingPackageError: ``huggingface_hub`` is not installed.
        ValueError: the card's head or ``eval.json`` cannot be read.
    """
    repository, revision = parse_hub_name(SCHEME + repository.removeprefix(SCHEME))
    if revision is not None:
        raise HubError("A model is pushed to OWNER/NAME, without a revision.")
    hub = hub_client()
    from huggingface_hub import CommitOperationAdd, is_offline_mode

    if is_offline_mode():
        raise HubError("HF_HUB_OFFLINE is set, and nothing can be pushed offline.")
    folder = find_model(source)
    licence = load_model(str(folder.resolve()), torch.device("cpu")).licence
    files = _files(folder, repository, licence)
    with explained(SCHEME + repository):
        hub.create_repo(repository, private=private or None, exist_ok=True)
        commit = hub.create_commit(
            repository,
            [CommitOperationAdd(name, file) for name, file in files.items()],
            commit_message=f"Upload the model with whispergpt {package_version()}",
        )
    return HubModel(repository, commit.oid, folder)


def _files(folder: Path, repository: str, licence: str) -> dict[str, Path | bytes]:
    """Return the files of the repository by name, each as a path or as its content."""
    # Imported here, because the card is made by the optional package.
    from whispergpt.training.hub_card import page_of

    config, lender = json.loads((folder / "config.json").read_text()), codec_folder(folder)
    config["codec"] = json.loads((lender / "config.json").read_text())["codec"]
    files: dict[str, Path | bytes] = {
        "config.json": (json.dumps(config, indent=2) + "\n").encode(),
        "model.safetensors": folder / "model.safetensors",
    }
    if isinstance(config["codec"], dict):
        files["codec.safetensors"] = lender / "codec.safetensors"
    page = page_of(folder, repository, licence)
    shown = {name: folder / name for name in _SHOWN.findall(page) if (folder / name).is_file()}
    return {**files, MANIFEST: manifest_of(files), PAGE: page.encode(), **shown}
