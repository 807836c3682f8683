"""Parameters of requests and their ranges, the same for HTTP and WebSocket: seconds, seed, sampling, model."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields

from starlette.datastructures import QueryParams

from whispergpt.engine.config import CODEBOOK_SIZE, FRAME_RATE
from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.server.errors import bad_value

DEFAULT_SECONDS = 5
"""Default seconds of continuation over HTTP."""
MAX_SECONDS = 600.0
"""Most seconds of continuation over HTTP."""
MAX_SEED = 2**53 - 1


@dataclass(frozen=True)
class Range:
    """Range of one number.

    Attributes:
        low, high: least and most; with ``above``, ``low`` itself is excluded.
        words: the range in a sentence, after "must be".
        whole: whether numbers are whole.
    """

    low: float
    high: float
    words: str
    above: bool = False
    whole: bool = False

    @property
    def help(self) -> str:
        """Return the range as a command line's help begins with it."""
        return self.words[0].upper() + self.words[1:]

    @property
    def kind(self) -> dict[str, str]:
        """Return the type of JSON Schema."""
        return {"type": "integer" if self.whole else "number"}

    @property
    def bounds(self) -> dict[str, float]:
        """Return the bounds of JSON Schema."""
        return {"exclusiveMinimum" if self.above else "minimum": self.low, "maximum": self.high}

    def check(self, value: float, param: str) -> None:
        """Raise ApiError: 400, naming ``param``, where the value is not in the range."""
        if not (self.low < value <= self.high if self.above else self.low <= value <= self.high):
            shown = value if abs(value) < 1e18 else "a huge number"
            raise bad_value(param, f"{param} must be {self.words}, not {shown}.", "out_of_range")


def seconds_up_to(limit: float) -> Range:
    """Return the range of a continuation's seconds with its most."""
    return Range(0, limit, f"above 0 and at most {limit:g}", above=True)


RANGES = {
    "seconds": seconds_up_to(MAX_SECONDS),
    "seed": Range(0, MAX_SEED, "0 to 2^53 - 1", whole=True),
    "temperature": Range(0, 2, "0 (greedy) to 2"),
    "top_k": Range(0, CODEBOOK_SIZE, f"0 (off) to {CODEBOOK_SIZE}", whole=True),
    "top_p": Range(0, 1, "above 0 and at most 1 (off)", above=True),
}
"""Ranges of a request's numbers, for HTTP, WebSocket and command line; a WebSocket may allow more ``seconds``."""
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?[0-9]{1,4096}")
"""Whole number of a form, whose fields are no longer."""
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Wishes:
    """Sampling that a request asks for; None is the model's default, or a random seed."""

    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None


def find_model(models: Mapping[str, ModelInfo], name: str | None, param: str = "model") -> ModelInfo:
    """Return the model called ``name``, or the first where None.

    Raises:
        ApiError: 400, there is no such model.
    """
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise bad_value(param, f"There is no model '{name[:100]}' here; there is {', '.join(models)}.", "unknown_model")
    return models[name]


def check_wishes(wishes: Wishes, prefix: str = "") -> None:
    """Check that all values are in their ranges.

    Raises:
        ApiError: 400, naming the field, with ``prefix`` before it.
    """
    for field in fields(wishes):
        value = getattr(wishes, field.name)
        if value is not None:
            RANGES[field.name].check(value, prefix + field.name)


def sampling_for(wishes: Wishes, model: ModelInfo) -> SamplingParams:
    """Return checked wishes with the model's defaults and, where there is no seed, a random one."""
    defaults = model.defaults
    return SamplingParams(
        seed=secrets.randbelow(MAX_SEED + 1) if wishes.seed is None else wishes.seed,
        temperature=float(defaults["temperature"] if wishes.temperature is None else wishes.temperature),
        top_k=int(defaults["top_k"] if wishes.top_k is None else wishes.top_k),
        top_p=float(defaults["top_p"] if wishes.top_p is None else wishes.top_p),
    )


def frames_for(seconds: float, param: str = "seconds", limit: float = MAX_SECONDS) -> int:
    """Return ceil(seconds · 75), where 0.1 + 0.2 seconds are 0.3.

    Raises:
        ApiError: 400, seconds are not above 0 and at most ``limit``.
    """
    seconds_up_to(limit).check(seconds, param)
    # Rounding to a millionth of a frame removes binary noise alone.
    return max(1, math.ceil(round(seconds * FRAME_RATE, 6)))


def query_fields(query: QueryParams, *known: str, rest: str = "") -> dict[str, str]:
    """Return the fields of an address that are not empty.

    Args:
        known: names of the fields that the address may have.
        rest: end of the sentence about an unknown one: where other settings belong.

    Raises:
        ApiError: 400, a field is unknown or given twice.
    """
    given: dict[str, str] = {}
    for name, value in query.multi_items():
        if name not in known:
            there = f"there is {', '.join(known)}" if known else "it takes none"
            told = f"This address has no parameter '{name[:100]}'; {there}{rest}."
            raise bad_value(name[:100], told, "unknown_field")
        if name in given:
            raise bad_value(name, f"The parameter '{name}' is given twice; send it once.", "repeated_field")
        given[name] = value
    return {name: value for name, value in given.items() if value.strip()}


def number(text: str, param: str) -> float:
    """Return a decimal number from a form field.

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
    """Return a whole number from a form field.

    Raises:
        ApiError: 400, it is not one.
    """
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        raise bad_value(param, f"{param} must be a whole number, not '{text[:40]}'.")
    return int(text)


def truth(text: str, param: str) -> bool:
    """Return ``true`` or ``false`` from a form field.

    Raises:
        ApiError: 400, it is neither.
    """
    value = _TRUTH.get(text.strip().lower())
    if value is None:
        raise bad_value(param, f"{param} must be true or false, not '{text[:40]}'.")
    return value
