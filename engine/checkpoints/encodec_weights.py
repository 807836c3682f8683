"""The published ``encodec_24khz`` weights in our codec: by name (downloaded once, checked) or from a local file.

The weights are Meta's, under CC-BY-NC-4.0: they are not part of this package, and fetched only when asked for by name.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from whispergpt.engine.checkpoints.user_cache import user_cache
from whispergpt.engine.checkpoints.weights_file import first_not_finite
from whispergpt.engine.config import ENCODEC_24KHZ
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.quantizer import TRAINING_ONLY
from whispergpt.engine.whole_file import whole_file

NAME = "encodec_24khz"
CHECKPOINT = "encodec_24khz-d7cc33bc.th"
"""The published file's name, which ends in the first eight digits of its SHA-256."""
URL = f"https://dl.fbaipublicfiles.com/encodec/v0/{CHECKPOINT}"
MAX_BYTES = 512 * 2**20
TIMEOUT_SECONDS = 30.0


class WeightsError(RuntimeError):
    """Weights that cannot be fetched, read or used; the message is written for the user."""


def load_encodec(source: str | Path = NAME, url: str = URL) -> Codec:
    """Load the published 24 kHz codec with its first 8 codebooks, in float32 and ready for inference.

    Args:
        source: ``"encodec_24khz"``, or the path of a local ``.th`` or ``.safetensors`` file with EnCodec's names.
        url: where the checkpoint of that name is fetched from when it is not yet in the cache.

    Raises:
        WeightsError: the file cannot be fetched, fails its checksum, or does not hold these weights.
    """
    path = fetch_checkpoint(url) if source == NAME else Path(source)
    weights = fold_weight_norm(_read(path))
    codec = Codec(ENCODEC_24KHZ)
    wanted = codec.state_dict()
    for key, tensor in wanted.items():
        if key not in weights:
            if key.endswith(TRAINING_ONLY):
                continue
            raise WeightsError(f"{path} is not an encodec_24khz checkpoint: it has no {key}.")
        if weights[key].shape != tensor.shape:
            found, expected = tuple(weights[key].shape), tuple(tensor.shape)
            raise WeightsError(f"{path} is not an encodec_24khz checkpoint: {key} is {found} and should be {expected}.")
        wanted[key] = weights[key]
    if odd := first_not_finite(wanted):
        raise WeightsError(f"{path} holds numbers that are NaN or infinite, in {odd!r}.")
    codec.load_state_dict(wanted)
    return codec.eval()


def fold_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each pair ``weight_g`` (length), ``weight_v`` (direction) by ``weight``; everything as float32.

    The norm goes over all dimensions but the first, for transposed convolutions too, as in EnCodec.

    Raises:
        WeightsError: one tensor of a pair is missing.
    """
    folded: dict[str, Tensor] = {}
    for key, value in weights.items():
        stem, _, kind = key.rpartition("weight_")
        if kind == "g" and stem + "weight_v" in weights:
            direction = weights[stem + "weight_v"].float()
            norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.dim() - 1))
            folded[stem + "weight"] = direction * (value.float() / norm)
        elif kind not in ("g", "v"):
            folded[key] = value.float()
        elif not (kind == "v" and stem + "weight_g" in weights):
            raise WeightsError(f"The weight normalisation of {stem}weight has only {key}.")
    return folded


def fetch_checkpoint(url: str = URL) -> Path:
    """Return the path of the published checkpoint in the user's cache, downloaded if it is missing.

    Raises:
        WeightsError: the download fails or the file's SHA-256 is not the published one.
    """
    path = user_cache() / CHECKPOINT
    if not path.exists():
        _download(url, path)
    else:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _check(digest, f"{path} is damaged (delete it to fetch it anew)")
    return path


def _download(url: str, path: Path) -> None:
    """Fetch ``url`` to ``path``, which appears only once it is whole and checked."""
    digest, size = hashlib.sha256(), 0
    try:
        with whole_file(path) as whole:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, whole.open("wb") as file:
                while block := answer.read(2**20):
                    size += len(block)
                    if size > MAX_BYTES:
                        raise WeightsError(
                            f"{url} sends more than {MAX_BYTES // 2**20} MiB, which is not {CHECKPOINT}."
                        )
                    digest.update(block)
                    file.write(block)
            _check(digest.hexdigest(), f"What {url} sent is not {CHECKPOINT}")
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(f"{NAME} could not be fetched from {url}: {reason}.") from None


def _check(digest: str, what: str) -> None:
    expected = Path(CHECKPOINT).stem.rpartition("-")[2]
    if not digest.startswith(expected):
        raise WeightsError(
            f"{what}: its SHA-256 starts with {digest[: len(expected)]} and should start with {expected}."
        )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"There is no weights file {path}; give {NAME} or the path of one.") from None
    except Exception:  # A file that is not a pickle can raise almost any exception in the unpickler.
        raise WeightsError(f"{path} cannot be read as weights: it is neither .safetensors nor a plain .th.") from None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise WeightsError(f"{path} holds something other than named tensors.")
    return weights
