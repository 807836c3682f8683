"""Rate limit of log lines that clients can cause."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

_SESSION_LINES, _SESSION_LINES_A_SECOND = 10, 1.0
"""Lines of one kind that one request or session may cause at once, and on average after that."""
_BURST_SECONDS = 4.0
"""Seconds of the average rate that may come at once."""
_MOST_BUCKETS = 10_000
_ONCE = logging.ERROR
"""Level from which lines have a tenth of the rate: they are long, and one request should not cause many."""


@dataclass
class _Bucket:
    left: float
    at: float

    def take(self, most: float, a_second: float, now: float) -> bool:
        self.left = min(most, self.left + (now - self.at) * a_second)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class LineLimit(logging.Filter):
    """Lets a line through unless too many of its kind came: from the same request or session, or under the same key.

    A kind is a logger and its event. The next line of a kind that is let through says how many were left out.

    Args:
        lines_a_second: of one kind and one key, on average.
    """

    def __init__(self, lines_a_second: float) -> None:
        super().__init__()
        self._a_second = lines_a_second
        self._buckets: OrderedDict[tuple[str, ...], _Bucket] = OrderedDict()
        self._left_out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line may be written."""
        facts: dict[str, Any] = record.msg if isinstance(record.msg, dict) else {"event": str(record.msg)}
        kind = record.name, str(facts.get("event", ""))
        now = time.monotonic()
        a_second = self._a_second if record.levelno < _ONCE else self._a_second / 10
        allowed = True
        if request := facts.get("request_id"):
            allowed = self._take((*kind, "request", str(request)), _SESSION_LINES, _SESSION_LINES_A_SECOND, now)
        most = max(1.0, _BURST_SECONDS * a_second)
        allowed = allowed and self._take((*kind, "key", str(facts.get("key", ""))), most, a_second, now)
        if not allowed:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
        elif left_out := self._left_out.pop(kind, 0):
            self._tell(record, left_out)
        return allowed

    def _take(self, name: tuple[str, ...], most: float, a_second: float, now: float) -> bool:
        bucket = self._buckets.setdefault(name, _Bucket(most, now))
        self._buckets.move_to_end(name)
        while len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return bucket.take(most, a_second, now)

    @staticmethod
    def _tell(record: logging.LogRecord, left_out: int) -> None:
        if isinstance(record.msg, dict):
            record.msg = record.msg | {"left_out": left_out}
        else:
            record.msg = f"{record.msg} ({left_out} more like this were left out)"
