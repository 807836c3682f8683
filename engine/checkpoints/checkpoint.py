"""Model folders: ``config.json`` and safetensors, read and written. Nothing here unpickles.

A folder holds ``config.json`` (sizes, sampling defaults, licence), ``model.safetensors``, ``codec.safetensors`` and
``MODEL_CARD.md``. Instead of ``codec.safetensors`` the config may name another codec: ``"codec": "encodec_24khz"`` is
the published one, ``"codec": {"of": NAME, "sha256": ...}`` that of a model folder beside it or of an installed model.
A model of the Hugging Face Hub is such a folder in the hub's cache.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save_file

from whispergpt.engine.checkpoints.hub import fetch_model, is_hub_name
from whispergpt.engine.checkpoints.hub_errors import HubError
from whispergpt.engine.checkpoints.installed import INSTALLED, model_folder, no_model
from whispergpt.engine.checkpoints.weights_file import WeightsFileError, load_module, outline, weights_of
from whispergpt.engine.config import HOP, CodecConfig, ModelConfig, SamplingDefaults, from_dict, to_dict
from whispergpt.engine.extras import MissingPackageError
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.whole_file import whole_file

FORMAT = 1
MAX_CONFIG_BYTES = 2**20
MAX_LICENCE_CHARACTERS = 1000


class ModelError(ValueError):
    """A model that cannot be found or read; the message is written for the user."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Attributes:
        digest: the first eight hex digits of the SHA-256 of its files.
        revision: the commit of the hub that it is; None where it is not from the hub.
    """

    id: str
    step: FrameStep
    defaults: SamplingDefaults
    licence: str
    digest: str
    revision: str | None = None


@dataclass(frozen=True)
class _Place:
    """Where a model is, and what requests call it."""

    folder: Path
    id: str
    revision: str | None = None


def find_model(name_or_folder: str) -> Path:
    """Return the folder of an installed model, of a path, or of a model of the hub, which is fetched if need be.

    Raises:
        ModelError: there is none, or the hub does not give it.
    """
    return _place_of(name_or_folder).folder


def _place_of(name_or_folder: str) -> _Place:
    if is_hub_name(name_or_folder):
        try:
            fetched = fetch_model(name_or_folder)
        except (HubError, MissingPackageError) as error:
            raise ModelError(str(error)) from None
        return _Place(fetched.folder, fetched.id, fetched.commit)
    folder = model_folder(name_or_folder)
    if folder is not None:
        return _Place(folder, folder.name)
    raise ModelError(no_model(name_or_folder))


def load_model(name_or_folder: str, device: torch.device) -> LoadedModel:
    """Load a model in float32, by what ``find_model`` takes.

    Raises:
        ModelError: the model is missing, damaged or of another format; the message names the file.
    """
    place = _place_of(name_or_folder)
    folder = place.folder
    config = _read_config(folder)
    sizes, defaults, licence = _described(folder, config)
    codec = load_codec(folder)
    _check_pair(folder, sizes, codec.config)
    try:
        model = load_module(partial(WhisperGPT, sizes), folder / "model.safetensors")
    except WeightsFileError as error:
        raise ModelError(str(error)) from None
    return LoadedModel(
        id=place.id,
        step=FrameStep(codec, model).eval().requires_grad_(False).to(device),
        defaults=defaults,
        licence=licence,
        digest=_digest(folder),
        revision=place.revision,
    )


def describe_model(name_or_folder: str) -> dict[str, Any]:
    """Return name, parameters, sampling defaults and licence of a model, without reading its weights.

    Raises:
        ModelError: the model is missing or its ``config.json`` does not describe a model.
    """
    place = _place_of(name_or_folder)
    sizes, defaults, licence = _described(place.folder, _read_config(place.folder))
    parameters = outline(partial(WhisperGPT, sizes)).parameter_count()
    return {"id": place.id, "parameters": parameters, "defaults": to_dict(defaults), "licence": licence}


def load_codec(folder: Path) -> Codec:
    """Load the codec of a model folder, or of a codec's training folder, in float32 on the CPU.

    Raises:
        ModelError: the codec is missing or damaged.
    """
    return _codec_of(folder, _read_config(folder).get("codec"))


def load_spoken_codec(folder: Path) -> Codec:
    """Load what a model folder speaks through: its codec, with the model's own decoder if it has one.

    Raises:
        ModelError: the codec or the model is missing or damaged.
    """
    config = _read_config(folder)
    if "model" not in config or _described(folder, config)[0].decoder is None:
        return load_codec(folder)
    return load_model(str(folder.resolve()), torch.device("cpu")).step.codec


def _codec_of(folder: Path, described: Any) -> Codec:
    if described == "encodec_24khz":
        # Imported here, because only this codec needs the module.
        from whispergpt.engine.checkpoints.encodec_weights import WeightsError, load_encodec

        try:
            return load_encodec("encodec_24khz").eval()
        except WeightsError as error:
            raise ModelError(str(error)) from None
    if not isinstance(described, dict):
        raise ModelError(f"{folder / 'config.json'} does not describe a codec.")
    if "of" in described:
        folder = codec_folder(folder)
        described = _read_config(folder).get("codec")
    try:
        sizes = from_dict(CodecConfig, described)
        if prod(sizes.ratios) != HOP:
            raise ValueError(f"the product of its ratios is {prod(sizes.ratios)} and must be {HOP}, one frame")
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'} does not describe a codec: {error}.") from None
    try:
        return load_module(partial(Codec, sizes), folder / "codec.safetensors").eval()
    except WeightsFileError as error:
        raise ModelError(str(error)) from None


def codec_folder(folder: Path) -> Path:
    """Return the folder with the weights of a model's codec: its own, or that of the model that lends it.

    Raises:
        ModelError: the lender is missing, or its codec has changed, so that the model's codes would not fit it.
    """
    described = _read_config(folder).get("codec")
    if not isinstance(described, dict) or "of" not in described:
        return folder
    name = described["of"]
    if not isinstance(name, str) or not 0 < len(name) <= 255 or "\0" in name:
        raise ModelError(f"{folder / 'config.json'} does not name the model that its codec is from.")
    beside = (folder.resolve().parent / name, INSTALLED / name) if name == Path(name).name else ()
    found = next((lender for lender in beside if (lender / "codec.safetensors").is_file()), None)
    if found is None:
        raise ModelError(f"{folder} uses the codec of {name!r}, which is neither beside it nor installed.")
    try:
        same = codec_hash(found) == described.get("sha256")
    except OSError as error:
        raise ModelError(f"{found / 'codec.safetensors'} cannot be read: {error.strerror}.") from None
    if not same:
        raise ModelError(f"{folder} was trained on another codec than {found / 'codec.safetensors'} is now.")
    return found


def codec_hash(folder: Path) -> str:
    """Return the SHA-256, in hex, of the codec's weights in a model folder."""
    with (folder / "codec.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_codec(codec: Codec, folder: Path) -> None:
    """Write a folder from which ``load_codec`` loads it."""
    _save_codec_weights(codec, folder)
    _write_config(folder, {"codec": to_dict(codec.config)})


def save_model(folder: Path, model: WhisperGPT, codec: Codec, defaults: SamplingDefaults, licence: str) -> None:
    """Write a whole model folder except its card."""
    folder.mkdir(parents=True, exist_ok=True)
    _save_half(model.state_dict(), folder / "model.safetensors")
    _save_codec_weights(codec, folder)
    sizes = {"model": to_dict(model.config), "codec": to_dict(codec.config)}
    _write_config(folder, {**sizes, "sampling": to_dict(defaults), "licence": licence})


def _save_codec_weights(codec: Codec, folder: Path) -> None:
    """Write the weights of a codec that inference needs, in half precision."""
    _save_half(weights_of(codec), folder / "codec.safetensors")


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps({"format": FORMAT, **config}, indent=2) + "\n")


def _described(folder: Path, config: dict[str, Any]) -> tuple[ModelConfig, SamplingDefaults, str]:
    """Return sizes, sampling defaults and licence of a model, as its ``config.json`` gives them.

    Raises:
        ModelError: they are missing, of another type or out of range.
    """
    try:
        if "model" not in config:
            raise ValueError("it has no 'model'")
        licence = config.get("licence", "unknown")
        if not isinstance(licence, str) or len(licence) > MAX_LICENCE_CHARACTERS:
            raise ValueError(f"its licence is not a text of at most {MAX_LICENCE_CHARACTERS} characters")
        defaults = from_dict(SamplingDefaults, config.get("sampling", {}))
        return from_dict(ModelConfig, config["model"]), defaults, licence
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'} does not describe a model: {error}.") from None


def _check_pair(folder: Path, model: ModelConfig, codec: CodecConfig) -> None:
    """Raise ModelError where a model's fine stage or its decoder is for another codec's codes."""
    if model.decoder is not None and model.decoder != codec:
        raise ModelError(
            f"{folder / 'config.json'} does not describe a model: its decoder has other sizes than its codec's."
        )
    fine = model.fine
    if fine is not None and (fine.n_codebooks, fine.dimension) != (codec.n_codebooks, codec.dimension):
        raise ModelError(
            f"{folder / 'config.json'} does not describe a model: its fine stage is for {fine.n_codebooks} codebooks "
            f"of dimension {fine.dimension}, and its codec has {codec.n_codebooks} of {codec.dimension}."
        )


def _save_half(weights: dict[str, torch.Tensor], path: Path) -> None:
    with whole_file(path) as whole:  # it may be read during training
        save_file({k: v.detach().half().contiguous().cpu() for k, v in weights.items()}, whole)
        whole.chmod(0o644)  # safetensors lets only the owner read it; a container serves as another user


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise ValueError(f"it is longer than {MAX_CONFIG_BYTES} bytes")
        config = msgspec.json.decode(text)  # unlike json it refuses NaN and numbers too large for a float
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{path} is not a model description of format {FORMAT}.")
    return config


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "codec.safetensors"):
        path = folder / name
        if path.exists():
            with path.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
    return digest.hexdigest()[:8]
