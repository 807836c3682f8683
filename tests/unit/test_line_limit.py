"""Log lines that clients can cause are bounded, and what was left out is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from whispergpt.server.observe import line_limit
from whispergpt.server.observe.line_limit import LineLimit


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(line_limit, "time", clock)
    yield clock


def line(event: str = "message refused", level: int = logging.INFO, **facts: str) -> logging.LogRecord:
    return logging.LogRecord("server.stream", level, "", 0, {"event": event, **facts}, None, None)  # type: ignore[arg-type]


def passed(limit: LineLimit, count: int, **facts: str) -> int:
    return sum(limit.filter(line(**facts)) for _ in range(count))


def test_one_session_has_ten_lines_of_a_kind_and_then_one_a_second(clock: Clock) -> None:
    limit = LineLimit(50)
    assert passed(limit, 1_000, request_id="a") == 10
    assert passed(limit, 5, request_id="b") == 5, "others are not concerned"
    assert passed(limit, 5, request_id="a", event="response") == 5, "nor are other lines of it"
    clock.now += 3
    assert passed(limit, 1_000, request_id="a") == 3


def test_one_key_has_so_many_lines_of_a_kind_whatever_its_sessions(clock: Clock) -> None:
    limit = LineLimit(50)
    assert sum(passed(limit, 1, request_id=str(number), key="ann") for number in range(5_000)) == 200
    assert passed(limit, 1, request_id="b", key="bob") == 1
    clock.now += 1
    assert sum(passed(limit, 1, request_id=f"later {number}", key="ann") for number in range(5_000)) == 50


def test_errors_which_are_long_have_a_tenth(clock: Clock) -> None:
    limit = LineLimit(50)
    assert sum(limit.filter(line(level=logging.ERROR, request_id=str(number))) for number in range(1_000)) == 20


def test_what_was_left_out_is_told(clock: Clock) -> None:
    limit = LineLimit(50)
    passed(limit, 110, request_id="a")
    later = line(request_id="b")
    assert limit.filter(later) and later.msg == {"event": "message refused", "request_id": "b", "left_out": 100}
    foreign = [logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "Invalid", None, None) for _ in range(300)]
    assert sum(limit.filter(one) for one in foreign) == 200
    clock.now += 1
    last = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "Invalid", None, None)
    assert limit.filter(last) and last.getMessage() == "Invalid (100 more like this were left out)"


def test_a_library_may_log_what_it_likes() -> None:
    strange = logging.LogRecord("library", logging.INFO, "", 0, {"no": "event"}, None, None)  # type: ignore[arg-type]
    assert LineLimit(50).filter(strange)


def test_what_is_remembered_of_sessions_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_limit, "_MOST_BUCKETS", 100)
    limit = LineLimit(1e9)
    for number in range(1_000):
        passed(limit, 1, request_id=str(number))
    assert len(limit._buckets) == 100
