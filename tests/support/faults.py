"""What every refusal must look like, and that a server is none the worse for it."""

from __future__ import annotations

from typing import Any

from tests.support.audio import HOP, encode, samples_of, speech
from tests.support.http import HTTP
from tests.support.metrics import wait_for_idle

GOOD_PROMPT = encode(speech(0.6))


def check_error(error: dict[str, Any], *words: str) -> None:
    """An error of the envelope whose sentence holds these words, whatever their case."""
    assert error.keys() >= {"type", "code", "message", "param"}
    message = error["message"]
    assert message.endswith("."), message
    for trace in ("Traceback", 'File "', ".py", "Error("):
        assert trace not in message
    for word in words:
        assert word.lower() in message.lower(), message


def assert_serves(url: str) -> None:
    """A good request is answered, and then no slot is taken."""
    answer = HTTP.post(f"{url}/continue", data={"seconds": "0.04", "seed": "1"}, files={"audio": GOOD_PROMPT})
    assert answer.status_code == 200, answer.text
    assert len(samples_of(answer.content)) == 3 * HOP
    wait_for_idle(url)
