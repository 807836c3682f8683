"""Checks of what a request may ask for, the same for HTTP and WebSocket: seconds, seed, sampling, model."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from whispergpt.engine.config import CODEBOOK_SIZE, FRAME_RATE
from whispergpt.engine.messages import ModelInfo, SamplingParams
from whispergpt.server.errors import ApiError, bad_value

MAX_SECONDS = 600.0
"""Most seconds of continuation over HTTP."""
MAX_SEED = 2**53 - 1

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?[0-9]{1,4096}")
"""No field of a form is longer."""
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Wishes:
    """How to sample, as far as a request says; None leaves it to the model, or to chance for the seed."""

    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None


def find_model(models: Mapping[str, ModelInfo], name: str | None, param: str = "model") -> ModelInfo:
    """The model called ``name``, or the first where None.

    Raises:
        ApiError: 400, there is no such model.
    """
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise bad_value(param, f"There is no model '{name[:100]}' here; there is {', '.join(models)}.", "unknown_model")
    return models[name]


def check_wishes(wishes: Wishes, prefix: str = "") -> None:
    """Check the ranges of the contract.

    Raises:
        ApiError: 400, naming the field, with ``prefix`` before it.
    """
    _within(wishes.seed, 0, MAX_SEED, prefix + "seed", "0 to 2^53 - 1")
    _within(wishes.temperature, 0, 2, prefix + "temperature", "0 (greedy) to 2")
    _within(wishes.top_k, 0, CODEBOOK_SIZE, prefix + "top_k", f"0 (off) to {CODEBOOK_SIZE}")
    _within(wishes.top_p, 0, 1, prefix + "top_p", "above 0 and at most 1 (off)", above=True)


def sampling_for(wishes: Wishes, model: ModelInfo) -> SamplingParams:
    """Checked wishes with the model's defaults and, where no seed is asked for, a random one."""
    defaults = model.defaults
    return SamplingParams(
        seed=secrets.randbelow(MAX_SEED + 1) if wishes.seed is None else wishes.seed,
        temperature=float(defaults["temperature"] if wishes.temperature is None else wishes.temperature),
        top_k=int(defaults["top_k"] if wishes.top_k is None else wishes.top_k),
        top_p=float(defaults["top_p"] if wishes.top_p is None else wishes.top_p),
    )


def frames_for(seconds: float, param: str = "seconds", limit: float = MAX_SECONDS) -> int:
    """ceil(seconds · 75), where 0.1 + 0.2 seconds are 0.3.

    Raises:
        ApiError: 400, seconds are not above 0 and at most ``limit``.
    """
    _within(seconds, 0, limit, param, f"above 0 and at most {limit:g}", above=True)
    # Rounding to a millionth of a frame takes binary noise away and nothing that anyone meant.
    return max(1, math.ceil(round(seconds * FRAME_RATE, 6)))


def number(text: str, param: str) -> float:
    """A decimal number from a form field.

    Raises:
        ApiError: 400, it is not one, or not finite.
    """
    text = text.strip()
    if _NOT_FINITE.fullmatch(text):
        raise bad_value(param, f"{param} must be a finite number, not '{text}'.")
    if not _NUMBER.fullmatch(text):
        raise bad_value(param, f"{param} must be a number, not '{text[:40]}'.")
    return float(text)


def whole_number(text: str, param: str) -> int:
    """A whole number from a form field.

    Raises:
        ApiError: 400, it is not one.
    """
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        raise bad_value(param, f"{param} must be a whole number, not '{text[:40]}'.")
    return int(text)


def truth(text: str, param: str) -> bool:
    """``true`` or ``false`` from a form field.

    Raises:
        ApiError: 400, it is neither.
    """
    value = _TRUTH.get(text.strip().lower())
    if value is None:
        raise bad_value(param, f"{param} must be true or false, not '{text[:40]}'.")
    return value


def _within(value: float | None, low: float, high: float, param: str, text: str, above: bool = False) -> None:
    if value is None:
        return
    if not (low < value <= high if above else low <= value <= high):
        raise _out_of_range(param, value, text)


def _out_of_range(param: str, value: float, text: str) -> ApiError:
    shown = value if abs(value) < 1e18 else "a huge number"
    return bad_value(param, f"{param} must be {text}, not {shown}.", "out_of_range")
