"""Hook of schemathesis: every other valid form has audio that can be continued, and is short."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis.generation.modes import GenerationMode

from tests.support.audio import encode, speech

_AUDIO = encode(speech(0.6))


@schemathesis.hook
def before_call(context: Any, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    valid = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    if valid and isinstance(case.body, dict) and len(case.body.get("audio", b"")) % 2:
        case.body |= {"audio": _AUDIO, "seconds": 0.1}
