"""Model folders: ``config.json`` and safetensors, read and written. Nothing here unpickles.

A folder holds ``config.json`` (sizes, sampling defaults, licence), ``model.safetensors``, ``codec.safetensors`` and
``MODEL_CARD.md``. Instead of weights of its own its codec may be ``"codec": "encodec_24khz"`` in the config, the
published one, or ``"codec": {"of": NAME, "sha256": ...}``, that of a model folder beside it or of an installed model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from engine.codec import Codec
from engine.config import CodecConfig, ModelConfig, SamplingDefaults, from_dict, to_dict
from engine.frame_step import FrameStep
from engine.installed import INSTALLED, installed_models, model_folder
from engine.model import WhisperGPT
from engine.quantizer import TRAINING_ONLY

FORMAT = 1


class ModelError(ValueError):
    """A model that cannot be found or read; the message is written for the user."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run. ``digest``: the first eight hex digits of the SHA-256 of its files."""

    id: str
    step: FrameStep
    defaults: SamplingDefaults
    licence: str
    digest: str


def find_model(name_or_folder: str) -> Path:
    """The folder of an installed model or of a path.

    Raises:
        ModelError: there is neither.
    """
    folder = model_folder(name_or_folder)
    if folder is not None:
        return folder
    known = ", ".join(installed_models()) or "none"
    raise ModelError(f"There is no model {name_or_folder!r}: not installed ({known}) and not a model folder.")


def load_model(name_or_folder: str, device: torch.device) -> LoadedModel:
    """Load a model folder in float32.

    Raises:
        ModelError: it is missing, damaged or of another format; the message names the file.
    """
    folder = find_model(name_or_folder)
    config = _read_config(folder)
    model, defaults = _build_model(folder, config)
    _load_weights(model, folder / "model.safetensors")
    codec = load_codec(folder)
    return LoadedModel(
        id=folder.name,
        step=FrameStep(codec, model).eval().requires_grad_(False).to(device),
        defaults=defaults,
        licence=_licence(config),
        digest=_digest(folder),
    )


def describe_model(name_or_folder: str) -> dict[str, Any]:
    """Name, parameters, sampling defaults and licence of a model, without reading its weights.

    Raises:
        ModelError: it is missing or its ``config.json`` does not describe a model.
    """
    folder = find_model(name_or_folder)
    config = _read_config(folder)
    with torch.device("meta"):
        model, defaults = _build_model(folder, config)
    return {
        "id": folder.name,
        "parameters": model.parameter_count(),
        "defaults": to_dict(defaults),
        "licence": _licence(config),
    }


def load_codec(folder: Path) -> Codec:
    """The codec of a model folder, or of the folder of a codec's training, in float32 on the CPU.

    Raises:
        ModelError: it is missing or damaged.
    """
    return _codec_of(folder, _read_config(folder).get("codec"))


def _codec_of(folder: Path, described: Any) -> Codec:
    if described == "encodec_24khz":
        # Only here, for those who have the published weights.
        from engine.encodec_weights import WeightsError, load_encodec

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
        codec = Codec(from_dict(CodecConfig, described))
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'} does not describe a codec: {error}") from None
    _load_weights(codec, folder / "codec.safetensors")
    return codec.eval()


def codec_folder(folder: Path) -> Path:
    """Where the weights of a model's codec lie: in its own folder, or in that of the model that lends it.

    Raises:
        ModelError: the lender is missing, or its codec is another by now: codes mean nothing under any but their own.
    """
    described = _read_config(folder).get("codec")
    if not isinstance(described, dict) or "of" not in described:
        return folder
    name = str(described["of"])
    beside = (folder.resolve().parent / name, INSTALLED / name)
    found = next((lender for lender in beside if (lender / "codec.safetensors").is_file()), None)
    if found is None or name != Path(name).name:
        raise ModelError(f"{folder} uses the codec of {name!r}, which is neither beside it nor installed.")
    if codec_hash(found) != described.get("sha256"):
        raise ModelError(f"{folder} was trained on another codec than {found / 'codec.safetensors'} is now.")
    return found


def codec_hash(folder: Path) -> str:
    """SHA-256 of the codec's weights that lie in a model folder, in hex."""
    return hashlib.sha256((folder / "codec.safetensors").read_bytes()).hexdigest()


def save_codec(codec: Codec, folder: Path) -> None:
    """Write a folder from which ``load_codec`` loads it."""
    _save_codec_weights(codec, folder)
    _write_config(folder, {"codec": to_dict(codec.config)})


def save_model(folder: Path, model: WhisperGPT, codec: Codec, defaults: SamplingDefaults, licence: str) -> None:
    """Write a whole model folder but for its card."""
    folder.mkdir(parents=True, exist_ok=True)
    _save_half(model.state_dict(), folder / "model.safetensors")
    _save_codec_weights(codec, folder)
    sizes = {"model": to_dict(model.config), "codec": to_dict(codec.config)}
    _write_config(folder, {**sizes, "sampling": to_dict(defaults), "licence": licence})


def _save_codec_weights(codec: Codec, folder: Path) -> None:
    """What inference needs of a codec, in half precision."""
    weights = {k: v for k, v in codec.state_dict().items() if not k.endswith(TRAINING_ONLY)}
    _save_half(weights, folder / "codec.safetensors")


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps({"format": FORMAT, **config}, indent=2) + "\n")


def _build_model(folder: Path, config: dict[str, Any]) -> tuple[WhisperGPT, SamplingDefaults]:
    try:
        return WhisperGPT(from_dict(ModelConfig, config["model"])), from_dict(
            SamplingDefaults, config.get("sampling", {})
        )
    except (KeyError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} does not describe a model: {error}") from None


def _licence(config: dict[str, Any]) -> str:
    return str(config.get("licence", "unknown"))


def _save_half(weights: dict[str, torch.Tensor], path: Path) -> None:
    partial = path.with_suffix(".partial")
    save_file({k: v.detach().half().contiguous().cpu() for k, v in weights.items()}, partial)
    partial.chmod(0o644)  # safetensors writes for the owner alone; a container serves as another user
    partial.rename(path)  # whole or as it was: it may be read while training goes on


def _load_weights(module: nn.Module, path: Path) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    wanted = {k for k in module.state_dict() if not k.endswith(TRAINING_ONLY)}
    if wanted != set(weights):
        odd = sorted(wanted ^ set(weights))[0]
        raise ModelError(f"{path} does not fit its config.json: {odd!r} is missing or unexpected.")
    try:
        module.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    except RuntimeError:
        raise ModelError(f"{path} does not fit the sizes in its config.json.") from None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{path} is not a model description of format {FORMAT}.")
    return config


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "codec.safetensors"):
        path = folder / name
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
