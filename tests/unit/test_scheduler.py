"""Who is stepped when: slots, order, pace, credit, and leaving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import Pace, SamplingParams, StreamPlan
from whispergpt.engine.streams.scheduler import (
    LEAD_FRAMES,
    SAFE_LEAD_SECONDS,
    SHORT_LEAD_SECONDS,
    SHORT_OF_LEAD_SECONDS,
    Scheduler,
    Stream,
)

SAMPLING = SamplingParams(seed=0, temperature=1.0, top_k=0, top_p=1.0)


class Clock:
    """Seconds that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def stream(
    number: int, frames: int | None = 10, pace: Pace = "fast", credit: int | None = None, **plan: bool | int
) -> Stream:
    # The scheduler never looks into a prompt.
    return Stream(number, cast(Prompt, cast(Any, None)), StreamPlan(SAMPLING, frames, pace, **plan), credit)


def play(scheduler: Scheduler) -> list[int]:
    """One turn: admit, and advance whoever may run."""
    scheduler.admit()
    runnable = scheduler.runnable()
    for one in runnable:
        scheduler.advance(one)
    return [one.id for one in runnable]


def test_slots_are_filled_in_order_and_reused(clock: Clock) -> None:
    scheduler = Scheduler(2, clock)
    first, second, third = stream(1, 2), stream(2, 5), stream(3, 5)
    for one in (first, second, third):
        scheduler.add(one)
    assert play(scheduler) == [1, 2]
    assert (scheduler.active, scheduler.waiting) == (2, 1)
    assert play(scheduler) == [1, 2]
    assert first.status == "completed"
    assert play(scheduler) == [3, 2]
    assert third.slot == first.slot


def test_who_goes_on_from_elsewhere_comes_before_who_is_new(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    resumed = [stream(3, 1, resumed=True), stream(4, 1, resumed=True)]
    for one in (stream(1, 1), stream(2, 1), *resumed):
        scheduler.add(one)
        if one.id == 1:
            scheduler.admit()
    assert [play(scheduler)[0] for _ in range(4)] == [1, 3, 4, 2]


def test_real_time_streams_wait_for_time_in_their_order(clock: Clock) -> None:
    scheduler = Scheduler(4, clock)
    scheduler.most_listened = 1
    for number, pace in enumerate(("realtime", "realtime", "fast", "realtime"), 1):
        scheduler.add(stream(number, 5, cast(Pace, pace)))
    assert [one.id for one in scheduler.admit()] == [1, 3]
    assert (scheduler.active, scheduler.listened, scheduler.waiting) == (2, 1, 2)
    scheduler.most_listened = 3
    assert [one.id for one in scheduler.admit()] == [2, 4]
    scheduler.most_listened = 1
    assert scheduler.listened == 3, "nobody is sent away"


def test_who_was_promised_a_place_does_not_wait_for_time(clock: Clock) -> None:
    """But for a slot."""
    scheduler = Scheduler(3, clock)
    scheduler.most_listened = 1
    for number in (1, 2, 3, 4):
        scheduler.add(stream(number, 5, "realtime", promised=number > 2))
    assert [one.id for one in scheduler.admit()] == [1, 3, 4]
    scheduler.add(stream(5, 5, "realtime", promised=True))
    assert scheduler.admit() == [] and scheduler.waiting == 2


def test_cancelled_stream_frees_its_slot_at_once(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    playing, waiting, gone = stream(1, None), stream(2), stream(3)
    for one in (playing, gone, waiting):
        scheduler.add(one)
    play(scheduler)
    scheduler.end(gone, "cancelled")
    scheduler.end(playing, "cancelled")
    assert scheduler.active == 0
    assert play(scheduler) == [2]
    scheduler.end(playing, "failed")
    assert playing.status == "cancelled"


def test_real_time_is_two_seconds_ahead_and_no_more(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, None, "realtime")
    scheduler.add(one)
    for _ in range(5_000):
        simulate(scheduler, clock, 0.001, lambda n: 0.001)
        assert one.lead(clock.now) <= 2.0 + 1e-9
        assert (scheduler.next_due() or 0) <= 2 / 75 + 1e-9
    assert one.lead(clock.now) > (LEAD_FRAMES - 1) / 75 - 0.002
    assert one.generated == pytest.approx(LEAD_FRAMES + 5 * 75, abs=2)


def test_streams_of_any_phase_are_stepped_together(clock: Clock) -> None:
    """As many steps a second as there are frames, however many play and whenever they came."""
    scheduler = Scheduler(16, clock)
    streams = [stream(n, None, "realtime") for n in range(16)]
    for one in streams:
        scheduler.add(one)
        simulate(scheduler, clock, 0.3 + one.id / 1_000, lambda n: 0.001 + 0.0001 * n)
    simulate(scheduler, clock, 3, lambda n: 0.001 + 0.0001 * n)
    before = [one.generated for one in streams]
    steps = [turn for turn in simulate(scheduler, clock, 10, lambda n: 0.001 + 0.0001 * n) if turn]
    assert len(steps) == pytest.approx(10 * 75, rel=0.02) and min(map(len, steps)) == 16
    made = [one.generated - then for one, then in zip(streams, before, strict=True)]
    assert max(made) - min(made) <= 1 and made[0] == pytest.approx(750, abs=1)


def test_who_is_well_ahead_waits_for_prompts(clock: Clock) -> None:
    scheduler = Scheduler(2, clock)
    one, fast = stream(1, None, "realtime"), stream(2, None)
    scheduler.add(one)
    simulate(scheduler, clock, 3, lambda n: 0.001)
    generated, scheduler.prompts_wait = one.generated, True
    simulate(scheduler, clock, 0.9, lambda n: 0.001)
    assert one.generated == generated
    simulate(scheduler, clock, 3, lambda n: 0.001)
    assert one.lead(clock.now) == pytest.approx(SHORT_LEAD_SECONDS, abs=2 / 75)
    scheduler.prompts_wait = False
    turns = simulate(scheduler, clock, 0.2, lambda n: 0.001)
    assert sum(1 in turn for turn in turns) > 75 and one.lead(clock.now) > 1.9, "as soon as it can"
    scheduler.add(fast)
    scheduler.prompts_wait = True
    assert [2] in simulate(scheduler, clock, 0.2, lambda n: 0.001), "others take what is left"


def test_a_listener_is_short_until_it_has_some_lead(clock: Clock) -> None:
    """One that is held, or whose reader is behind, waits for nothing, and ``fast`` streams have no listener."""
    scheduler = Scheduler(3, clock)
    scheduler.add(stream(1, None))
    play(scheduler)
    assert not scheduler.short
    one = stream(2, None, "realtime")
    scheduler.add(one)
    play(scheduler)
    assert scheduler.short
    scheduler.hold(one, True)
    assert not scheduler.short
    scheduler.hold(one, False)
    while one.lead(clock.now) < SHORT_OF_LEAD_SECONDS:
        assert scheduler.short
        play(scheduler)
    assert not scheduler.short
    scheduler.add(stream(3, None, "realtime", credit=2))
    play(scheduler)
    assert scheduler.short
    play(scheduler)
    assert not scheduler.short, "it has no credit left"


def test_who_is_safe_catches_up_at_twice_the_pace_of_playback(clock: Clock) -> None:
    """What it would take to be there at once is for others' prompts."""
    scheduler = Scheduler(2, clock)
    old, one = stream(1, None, "realtime"), stream(2, None, "realtime")
    scheduler.add(old)
    simulate(scheduler, clock, 3, lambda n: 0.001)
    scheduler.add(one)
    simulate(scheduler, clock, 0.2, lambda n: 0.001)
    generated, since = one.generated, clock.now
    assert one.lead(clock.now) >= SAFE_LEAD_SECONDS
    simulate(scheduler, clock, 1, lambda n: 0.001)
    assert (one.generated - generated) / (clock.now - since) == pytest.approx(150, rel=0.03)
    assert old.lead(clock.now) > 1.9


def test_fast_is_not_paced(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, 1000)
    scheduler.add(one)
    for _ in range(1000):
        play(scheduler)
    assert one.status == "completed"


def test_credit_holds_a_stream_until_its_reader_has_taken_frames(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, None, credit=20)
    scheduler.add(one)
    for _ in range(50):
        play(scheduler)
    assert one.generated == 20
    assert scheduler.next_due() is None
    one.acknowledged = 5
    assert scheduler.next_due() == 0
    for _ in range(50):
        play(scheduler)
    assert one.generated == 25


def test_held_stream_does_not_hold_others(clock: Clock) -> None:
    scheduler = Scheduler(2, clock)
    scheduler.add(stream(1, None, credit=3))
    scheduler.add(stream(2, None))
    turns = [play(scheduler) for _ in range(6)]
    assert turns == [[1, 2]] * 3 + [[2]] * 3


def test_a_held_listeners_clock_stands(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, None, "realtime")
    scheduler.add(one)
    simulate(scheduler, clock, 3, lambda n: 0.001)
    scheduler.hold(one, True)
    lead = one.lead(clock.now)
    clock.now += 60
    assert play(scheduler) == [] and scheduler.next_due() is None and one.lead(clock.now) == lead
    scheduler.hold(one, False)
    assert one.lead(clock.now) == pytest.approx(lead)
    generated = one.generated
    simulate(scheduler, clock, 1, lambda n: 0.001)
    assert one.generated - generated == pytest.approx(75, abs=2)


def test_held_before_it_began(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, None, "realtime")
    scheduler.add(one)
    scheduler.hold(one, True)
    assert play(scheduler) == [] and one.status == "playing"
    clock.now += 5
    scheduler.hold(one, False)
    assert play(scheduler) == [1] and one.lead(clock.now) == pytest.approx(1 / 75)


# --- deadlines


def simulate(scheduler: Scheduler, clock: Clock, seconds: float, cost: Callable[[int], float]) -> list[list[int]]:
    """Steps for so long, each as long as ``cost`` says for its number of streams; returns who was in each."""
    until, turns = clock.now + seconds, []
    while clock.now < until:
        scheduler.admit()
        runnable = scheduler.runnable()
        clock.now += cost(len(runnable)) if runnable else 0.001
        for one in runnable:
            scheduler.advance(one)
        turns.append([one.id for one in runnable])
    return turns


def test_a_newcomer_goes_alone_until_it_is_safe(clock: Clock) -> None:
    scheduler = Scheduler(9, clock)
    old = [stream(n, None, "realtime") for n in range(8)]
    for one in old:
        scheduler.add(one)
    simulate(scheduler, clock, 5, lambda n: 0.001 * n)
    scheduler.add(stream(8, None, "realtime"))
    turns = simulate(scheduler, clock, 0.3, lambda n: 0.001 * n)
    alone = turns.index(next(turn for turn in turns if turn != [8]))
    assert alone == pytest.approx(SAFE_LEAD_SECONDS / (1 / 75 - 0.001), rel=0.05)
    assert min(one.lead(clock.now) for one in old) > 1


def test_where_many_are_short_all_go_together(clock: Clock) -> None:
    """Steps of few would make fewer frames in a second, and nobody would catch up."""
    scheduler = Scheduler(9, clock)
    for n in range(9):
        scheduler.add(stream(n, None, "realtime"))
    turns = simulate(scheduler, clock, 2, lambda n: 0.004 + 0.001 * n)
    assert all(len(turn) == 9 for turn in turns)


def test_nobody_starves_at_the_limit(clock: Clock) -> None:
    """Nine tenths of what the machine can do: all play on, whenever they came."""
    scheduler = Scheduler(16, clock)
    streams = [stream(n, None, "realtime") for n in range(16)]

    def cost(count: int) -> float:
        return 0.001 + 0.9 * (1 / 75 - 0.001) / 16 * count

    least: dict[int, float] = {}
    for one in streams:
        scheduler.add(one)
        simulate(scheduler, clock, 0.5, cost)
        for playing in streams[: one.id + 1]:
            least[playing.id] = min(least.get(playing.id, 9.0), playing.lead(clock.now))
    for _ in range(60):
        simulate(scheduler, clock, 0.5, cost)
        least = {one.id: min(least[one.id], one.lead(clock.now)) for one in streams}
    assert min(least.values()) > 0.3
    assert min(one.lead(clock.now) for one in streams) >= SAFE_LEAD_SECONDS


def test_too_much_to_do_is_shared_and_nobody_is_left_out(clock: Clock) -> None:
    scheduler = Scheduler(9, clock)
    streams = [stream(n, None, "realtime") for n in range(9)]
    for one in streams[:8]:
        scheduler.add(one)
    simulate(scheduler, clock, 10, lambda n: 1.25 * n / 8 / 75)
    made = [one.generated for one in streams[:8]]
    assert max(made) - min(made) < 10 and sum(made) == pytest.approx(10 * 75 * 8 / 1.25, rel=0.05)
    scheduler.add(streams[8])  # who ran dry waited: what was lost is not owed to them
    simulate(scheduler, clock, 5, lambda n: 1.25 * n / 8 / 75)
    rates = [one.generated - before for one, before in zip(streams, [*made, 0], strict=True)]
    assert max(rates) < 1.3 * min(rates)


def test_who_was_held_up_by_its_reader_owes_nothing(clock: Clock) -> None:
    scheduler = Scheduler(2, clock)
    slow, other = stream(1, None, "realtime", credit=20), stream(2, None, "realtime")
    for one in (slow, other):
        scheduler.add(one)
    simulate(scheduler, clock, 25, lambda n: 0.004 * n)
    assert slow.generated == 20 and slow.lead(clock.now) < -20
    slow.credit = None
    simulate(scheduler, clock, 1, lambda n: 0.004 * n)
    assert slow.lead(clock.now) > 0 and other.lead(clock.now) > 1
    assert slow.generated < 20 + 75 + LEAD_FRAMES


def test_skipped_frames_are_made_at_once_and_are_no_lead(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, None, "realtime", skipped=300)
    scheduler.add(one)
    simulate(scheduler, clock, 2, lambda n: 0.001)
    assert one.generated >= 300 + LEAD_FRAMES
    assert one.lead(clock.now) == pytest.approx(2, abs=0.1)


def test_fast_streams_have_what_is_left(clock: Clock) -> None:
    scheduler = Scheduler(2, clock)
    listened, fast = stream(1, None, "realtime"), stream(2, None)
    scheduler.add(fast)
    simulate(scheduler, clock, 1, lambda n: 0.004 * n)
    scheduler.add(listened)
    turns = simulate(scheduler, clock, 0.2, lambda n: 0.004 * n)
    assert [2] not in turns[:20] and [1, 2] not in turns[:20]
    turns = simulate(scheduler, clock, 5, lambda n: 0.004 * n)
    assert sum(2 in turn for turn in turns) > 500
    assert listened.lead(clock.now) > SAFE_LEAD_SECONDS


def test_fast_streams_leave_the_processors_to_prompts_and_go_on_in_real_time(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    scheduler.add(stream(1, None))
    scheduler.prompts_wait = True
    turns = simulate(scheduler, clock, 2, lambda n: 0.001)
    assert 135 <= len([turn for turn in turns if turn]) <= 151
    scheduler.prompts_wait = False
    turns = simulate(scheduler, clock, 2, lambda n: 0.001)
    assert len([turn for turn in turns if turn]) > 1_900
