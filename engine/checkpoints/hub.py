"""Models of the Hugging Face Hub, ``hf://OWNER/NAME[@REVISION]``: fetched into its cache, bounded and checked.

Where the hub is, its cache, its token and whether it may be asked are settings of its library: ``HF_ENDPOINT``,
``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE``.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whispergpt.engine.checkpoints.hub_errors import HubError, explained
from whispergpt.engine.checkpoints.installed import package_version
from whispergpt.engine.checkpoints.manifest import MANIFEST, check_digests
from whispergpt.engine.extras import require_package

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
FILES = {MANIFEST: 2**16, "config.json": 2**20, "codec.safetensors": 2**31, "model.safetensors": 2**31}
"""Files that are fetched, none of which can run code, and the most bytes of each."""
REQUIRED = ("config.json", "model.safetensors")
_NAME = re.compile(r"hf://([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w][\w./+-]*))?", re.ASCII)

log = logging.getLogger("whispergpt.hub")


@dataclass(frozen=True)
class HubModel:
    """A model of the hub, in the local cache.

    Attributes:
        id: ``OWNER/NAME``.
        commit: hash of the commit that the revision was when it was looked up.
        folder: its files.
    """

    id: str
    commit: str
    folder: Path

    @property
    def pinned(self) -> str:
        """Return the name that always means this commit."""
        return f"{SCHEME}{self.id}@{self.commit}"


def is_hub_name(name: str) -> bool:
    """Return whether a model's name means the hub, also where the rest of it is not valid."""
    return name.startswith(SCHEME)


def parse_hub_name(name: str) -> tuple[str, str | None]:
    """Return the repository ``OWNER/NAME`` and the revision, None where the name has none.

    Raises:
        HubError: the name is not valid.
    """
    found = _NAME.fullmatch(name)
    if found is None or ".." in name:
        raise HubError(f"{name[:200]!r} does not name a model of the hub: write hf://OWNER/NAME[@REVISION].")
    return found[1], found[2]


def hub_client() -> HfApi:
    """Return the client of the hub.

    Raises:
        MissingPackageError: ``huggingface_hub`` is not installed.
    """
    require_package("huggingface_hub", "The Hugging Face Hub", "hub")
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    logging.getLogger("huggingface_hub").handlers.clear()  # its lines go where all go, and not there twice
    return HfApi(library_name="whispergpt", library_version=package_version())


def fetch_model(name: str) -> HubModel:
    """Return a model of the hub, whose files are fetched where the cache lacks them, and checked in any case.

    A commit that the cache has is not asked for again; of a branch or a tag the commit is looked up.

    Raises:
        HubError: the model cannot be had, is larger than is fetched, or is damaged.
        MissingPackageError: ``huggingface_hub`` is not installed.
    """
    repository, revision = parse_hub_name(name)
    hub = hub_client()
    from huggingface_hub import is_offline_mode, try_to_load_from_cache

    with explained(name):
        resolved = hub.resolve_revision(repository, revision=revision, local_files_only=is_offline_mode()).resolved
        known = {file: try_to_load_from_cache(repository, file, revision=resolved) for file in FILES}
        if None in known.values() and not is_offline_mode():
            hub.model_info(repository, revision=resolved)  # a download would ask a hub that is away for 24 seconds
        for file, where in known.items():
            if where is None and (file in REQUIRED or not is_offline_mode()):
                known[file] = _fetched(hub, name, repository, resolved, file)
    files = {file: Path(where) for file, where in known.items() if isinstance(where, str)}
    if missing := [file for file in REQUIRED if file not in files]:
        raise HubError(f"{name} has no {missing[0]}, so it is not a model that whispergpt can load.")
    if unchecked := [file for file in check_digests(name, files) if file.endswith(".safetensors")]:
        log.warning("%s has no %s, and the hub gives no SHA-256: %s not checked.", name, MANIFEST, _were(unchecked))
    return HubModel(repository, resolved, files["config.json"].parent)


def _fetched(hub: HfApi, name: str, repository: str, commit: str, file: str) -> str | None:
    """Fetch a file, and return its path in the cache; None where the repository has no such file."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        size = hub.hf_hub_download(repository, file, revision=commit, dry_run=True).file_size
        if size is None or size > FILES[file]:
            told = "of unknown size" if size is None else f"{size / 2**20:,.1f} MiB long"
            raise HubError(f"{name}: {file} is {told}; at most {FILES[file] / 2**20:g} MiB are fetched.")
        return hub.hf_hub_download(repository, file, revision=commit)
    except RemoteEntryNotFoundError:
        return None


def _were(files: list[str]) -> str:
    return f"{' and '.join(files)} {'was' if len(files) == 1 else 'were'}"
