"""A measurement of continuations: the engine loaded, what it made measured, and the report kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whispergpt.cli.arguments import check_finite, default_model, tell_if_slow
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages import SamplingParams
from whispergpt.server.errors import ApiError
from whispergpt.server.parameters import Wishes, check_wishes, sampling_for
from whispergpt.training.measures.prompts import CutPrompt
from whispergpt.training.measures.recordings import Recordings
from whispergpt.training.measures.report import Keeper

Measurement = Callable[[Engine, list[CutPrompt], Recordings, float, SamplingParams, Keeper], dict[str, Any]]


def continued(
    beginning: dict[str, Any],
    measure: Measurement,
    model: str | None,
    device: str,
    slots: int,
    found: list[CutPrompt],
    recordings: Recordings,
    seconds: float,
    wishes: Wishes,
    keeper: Keeper,
) -> dict[str, Any]:
    """Load the engine, measure, and keep the report: ``beginning``, what the samples depend on, what was measured."""
    check_finite(temperature=wishes.temperature, top_p=wishes.top_p)
    try:
        check_wishes(wishes)
    except ApiError as error:
        raise ValueError(error.message) from None
    engine = Engine.load(model or default_model(), device, slots)
    tell_if_slow(engine)
    sampling = sampling_for(wishes, engine.info())
    result = measure(engine, found, recordings, seconds, sampling, keeper)
    drawn = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    report = beginning | {"model": engine.model.id, "fingerprint": engine.fingerprint, "sampling": drawn} | result
    keeper.report(report)
    return report
