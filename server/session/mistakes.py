"""Finds the first mistake in a message that does not fit its event, and says what and where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import msgspec

from whispergpt.server.errors import ApiError, bad_value

_IN_WORDS = {str: "text", float: "a number", int: "a whole number", bytes: "base64", type(None): "null"}
_SHOWN = 40
"""Characters of a client's text that an error repeats."""
_SHOWN_NAME = 100
"""Characters of a field's name that an error repeats."""


def first_mistake(message: dict[str, Any], event: type[msgspec.Struct]) -> ApiError:
    """Return what is wrong with a message that cannot be converted to ``event``, with the place as ``param``."""
    return next(_mistakes(message, event, ""), bad_value(None, "The message does not fit its type."))


def shown(value: Any) -> str:
    """Return a value of a message as the client wrote it, if that is short."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return f"'{value[:_SHOWN]}'"
        case None | bool():
            return json.dumps(value)
        case _:
            return str(value) if abs(value) < 1e18 else "a huge number"


def _mistakes(values: dict[str, Any], kind: type[msgspec.Struct], place: str) -> Iterator[ApiError]:
    """Yield the mistakes of one object: those of its fields in their order, then missing fields.

    ``place`` goes before a field's name, such as ``session.``.
    """
    known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, value in values.items():
        if name in known:
            yield from _mistakes_of_value(value, known[name].type, place + name)
        elif place or name != kind.__struct_config__.tag_field:
            where = place + name[:_SHOWN_NAME]
            told = f"There is no field '{where}' here; there is {', '.join(known)}."
            yield bad_value(where, told, "unknown_field")
    for name, field in known.items():
        if field.required and name not in values:
            yield bad_value(place + name, f"The field '{place + name}' is missing.", "missing_field")


def _mistakes_of_value(value: Any, kind: Any, where: str) -> Iterator[ApiError]:
    """Yield the mistakes of one field's value, which may be of any kind of a union."""
    choices = (kind,) if get_origin(kind) is Literal else get_args(kind) or (kind,)
    told: list[str] = []
    for one in choices:
        if one is msgspec.UnsetType:
            continue
        if get_origin(one) is Literal:
            told += map(str, get_args(one))
            fits = value in get_args(one)
        elif issubclass(one, msgspec.Struct):
            told.append("an object")
            fits = isinstance(value, dict)
            if fits:
                yield from _mistakes(value, one, f"{where}.")
        else:
            told.append(_IN_WORDS.get(one, "any value"))
            fits = _fits(value, one)
        if fits:
            return
    yield bad_value(where, f"{where} must be {' or '.join(told)}, not {shown(value)}.")


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
