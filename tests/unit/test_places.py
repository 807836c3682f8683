"""Places that are kept, and what is left beside them."""

from __future__ import annotations

import asyncio

from whispergpt.engine.messages.events import Load, ModelInfo
from whispergpt.server.link.devices import EngineDevice
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.places import Places
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.settings import Settings


def test_a_place_is_given_back_once() -> None:
    places = Places()
    with places.keep("speech", "realtime", at_once=True) as place:
        assert places.kept() == places.kept("speech") == places.kept("speech", "realtime") == 1
        assert places.kept("piano") == places.kept(pace="fast") == 0
        assert place.take("speech", "realtime") and places.kept() == 0
        assert not place.take("speech", "realtime"), "it is taken"
    assert places.kept() == 0
    other = places.keep("speech", "fast", at_once=False)
    assert not other.take("piano", "fast") and other.over, "for a stream of another kind it is none"


def test_slack_counts_who_was_let_in_and_what_slots_are_left() -> None:
    async def look() -> list[int]:
        link = EngineLink(Settings(), Metrics(), EngineDevice())
        try:
            link._begin([ModelInfo("speech", 1, 24_000, 75, {}, "unknown", "f", slots=4, digest="d", resumable=True)])
            link._dispatch(Load("speech", 0, 0, most_listened=3))
            seen = [link.slack("speech")]
            first = link.places.keep("speech", "realtime", at_once=True)
            seen.append(link.slack("speech"))
            fast = [link.places.keep("speech", "fast", at_once=True) for _ in range(9)]
            seen.append(link.slack("speech"))
            for place in (first, *fast):
                place.give_back()
            return [*seen, link.slack("speech")]
        finally:
            await link.stop()

    assert asyncio.run(look()) == [3, 2, 0, 3]
