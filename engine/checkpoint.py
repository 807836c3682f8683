"""Model folders: ``config.json`` beside safetensors, never a pickle of our own."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from engine.codec import Codec


def save_codec(codec: Codec, folder: Path) -> None:
    """Write ``codec.safetensors`` (what inference needs, half precision)."""
    skipped = ("inited", "cluster_size", "embed_avg")
    weights = {k: v.half().contiguous() for k, v in codec.state_dict().items() if not k.endswith(skipped)}
    save_file(weights, folder / "codec.safetensors")
