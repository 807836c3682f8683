"""What the server says about one of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """One entry of ``GET /v1/models``.

    Attributes:
        id: the name to ask for it by.
        parameters: how many the language model has.
        sample_rate: samples per second of what it generates.
        frame_rate: frames per second.
        defaults: the sampling parameters it uses where a request names none.
        licence: of its weights.
    """

    id: str
    parameters: int
    sample_rate: int
    frame_rate: int
    defaults: dict[str, float]
    licence: str


def model_from_json(entry: Mapping[str, Any]) -> Model:
    """Read one entry; keys that this version does not know are passed over, so that newer servers can be used."""
    return Model(
        id=str(entry["id"]),
        parameters=int(entry["parameters"]),
        sample_rate=int(entry["sample_rate"]),
        frame_rate=int(entry["frame_rate"]),
        defaults=dict(entry["defaults"]),
        licence=str(entry["licence"]),
    )
