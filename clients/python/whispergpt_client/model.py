"""Models, as the server describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """Model of a server: one entry of ``GET /v1/models``.

    Attributes:
        id: name of the model in requests.
        parameters: number of parameters of the language model.
        sample_rate: samples per second of the audio it generates.
        frame_rate: frames per second.
        defaults: sampling parameters for requests that name none.
        licence: licence of its weights.
    """

    id: str
    parameters: int
    sample_rate: int
    frame_rate: int
    defaults: dict[str, float]
    licence: str


def model_from_json(entry: Mapping[str, Any]) -> Model:
    """Return one entry as a model. Unknown keys are ignored, so that newer servers can be used."""
    return Model(
        id=str(entry["id"]),
        parameters=int(entry["parameters"]),
        sample_rate=int(entry["sample_rate"]),
        frame_rate=int(entry["frame_rate"]),
        defaults=dict(entry["defaults"]),
        licence=str(entry["licence"]),
    )
