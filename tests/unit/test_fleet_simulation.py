"""A simulated region: real scheduler, capacity and admission; its own are only the clock and the crowd."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from whispergpt.benchmarks.simulation.__main__ import main, simulate
from whispergpt.benchmarks.simulation.agenda import Agenda
from whispergpt.benchmarks.simulation.autoscaler import Autoscaler
from whispergpt.benchmarks.simulation.desk import Desk, PromptWork
from whispergpt.benchmarks.simulation.machine import Costs, Machine
from whispergpt.benchmarks.simulation.plan import Plan, Surge
from whispergpt.benchmarks.simulation.profile import MEASURED, Curve, Profile, read_profile
from whispergpt.benchmarks.simulation.region import Region
from whispergpt.benchmarks.simulation.report import FleetReport, draw
from whispergpt.benchmarks.simulation.router import Router
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.streams.capacity import MOST_LOAD
from whispergpt.load.plan import Mix, Span
from whispergpt.server.settings import Settings

CURVE = Curve([1, 4, 16, 64], [0.001, 0.002, 0.0045, 0.0135])
PROFILE = Profile(
    machine="made up",
    model="speech",
    command="none",
    date="never",
    cores=2,
    step=CURVE,
    turn=CURVE,
    spread=[0.9, 1.0, 1.1],
    prompt_least=0.01,
    prompt_rate=0.015,
    recall_frames=1_099,
    recall_seconds=0.05,
    prompts_slow=1.2,
    prompts_share=0.4,
    listener_share=0.002,
    generator_share=0.002,
    start_seconds=10.0,
    slot_bytes=1,
    token_bytes=1,
)
NO_LINE = Settings(max_waiting=0, max_load=MOST_LOAD)  # whatever the environment says
BEARS = PROFILE.bears(64, MOST_LOAD)
PLAN = Plan(machines=2, listeners=1.0 * BEARS, duration=40.0, mix=Mix(Span(5, 15)))


def play(plan: Plan, settings: Settings = NO_LINE, profile: Profile = PROFILE) -> FleetReport:
    return simulate(plan, profile, settings)


def said(report: FleetReport) -> dict[str, Any]:
    told = report.as_json()
    del told["wall_seconds"]
    return told


def test_a_seed_is_a_run() -> None:
    assert said(play(PLAN)) == said(play(PLAN))
    assert said(play(PLAN)) != said(play(replace(PLAN, seed=1)))


def test_whom_a_region_has_room_for_hears_all() -> None:
    report = play(PLAN)
    heard = report.summary
    assert set(heard.listeners) <= {"arrived", "completed", "left"} and heard.listeners["completed"] > 50
    assert not heard.underruns
    for listener in report.region.listeners:
        record = listener.record
        if record.outcome == "completed":
            assert record.clock.received == pytest.approx(record.visit.seconds, abs=1.01 / FRAME_RATE)
        assert record.time_to_first_audio is not None
        assert record.time_to_first_audio > 0.9 * CURVE.seconds[0]
        work = PROFILE.prompt_least + PROFILE.prompt_rate * record.visit.prompt_seconds
        assert record.visit.live or record.time_to_first_audio > work
    assert 0.2 < report.use < MOST_LOAD, "half of what they bear"


def test_admission_and_capacity_bound_each_machine_and_say_why() -> None:
    plan = replace(PLAN, listeners=4.0 * BEARS, machines=2, duration=20.0)
    region = Region(plan, PROFILE, NO_LINE)
    most: Counter[int] = Counter()
    look = region._look

    def look_closely() -> None:
        look()
        for machine in region.machines:
            playing = sum(not one.waits for one in machine.live())
            most[machine.number] = max(most[machine.number], playing)
            assert playing <= machine.scheduler.slots

    region._look = look_closely  # type: ignore[method-assign]
    region.run()
    report = FleetReport.of(region, BEARS, 0.0)
    assert report.summary.listeners["refused"] > 20 and not report.summary.underruns
    assert all("real-time streams of 'speech' at once and the line is full" in why for why in report.summary.reasons)
    assert all(0.5 * BEARS < count <= 1.1 * BEARS for count in most.values()), "prompts slow steps, so fewer are let in"


def test_a_line_is_stood_in_no_longer_than_a_server_lets_anybody() -> None:
    crowded = replace(PLAN, listeners=3.0 * BEARS, duration=30.0)
    lined = play(crowded, Settings(max_waiting=8, queue_seconds=2.0, max_load=MOST_LOAD))
    alone = play(crowded, NO_LINE)
    assert lined.summary.listeners["refused"] < alone.summary.listeners["refused"]
    waits = [listener.record.time_to_first_audio or 0.0 for listener in lined.region.listeners]
    assert 0.5 < max(waits) < 2.0 + 1.5


def test_chunks_change_little() -> None:
    exact, chunked = (play(replace(PLAN, machines=1, listeners=0.5 * BEARS, chunk=chunk)) for chunk in (1, 15))
    assert chunked.summary.listeners == exact.summary.listeners
    assert not chunked.summary.underruns and not exact.summary.underruns
    assert chunked.use == pytest.approx(exact.use, rel=0.2)
    first = [report.summary.time_to_first_audio_ms for report in (exact, chunked)]
    assert first[0] is not None and first[1] is not None
    assert first[1].p50 == pytest.approx(first[0].p50, rel=0.2)


def test_without_a_limit_too_many_run_dry() -> None:
    """The simulation can tell a gap: these steps take twice as long as thought, and nothing keeps anybody out."""
    slow = msgspec.structs.replace(PROFILE, turn=Curve(CURVE.streams, [2 * seconds for seconds in CURVE.seconds]))
    unlimited = Settings(max_load=0, max_waiting=0)
    report = play(replace(PLAN, machines=1, listeners=55.0, duration=15.0), unlimited, slow)
    assert report.summary.underruns > 10 and report.use > 0.8


def test_a_death_is_survived_elsewhere_sample_for_sample() -> None:
    report = play(replace(PLAN, machines=3, deaths=(20.0,), notice_seconds=0.2))
    moved = [listener for listener in report.region.listeners if listener.moves]
    assert len(moved) > 10 and [machine.state for machine in report.region.machines].count("gone") == 1
    assert "failed" not in Counter(listener.record.outcome for listener in moved)
    for listener in moved:
        if listener.record.outcome == "completed":
            wanted = listener.record.visit.seconds
            assert listener.record.clock.received == pytest.approx(wanted, abs=1.01 / FRAME_RATE), "nothing twice"
    assert report.unheard > 0.5 * len(moved), "most have a lead that outlasts the move"
    nowhere = play(replace(PLAN, machines=1, listeners=10.0, deaths=(20.0,)))
    assert nowhere.summary.listeners["failed"] > 0


def test_routers_do_as_they_are_called() -> None:
    agenda = Agenda()
    machines = [Machine(number, Costs.of(PROFILE), NO_LINE, agenda, 1, "0") for number in range(3)]
    for machine, sessions in zip(machines, (2, 0, 1), strict=True):
        for session in range(sessions):
            machine.connect(lambda session=session: None)
    turns, loaded, slack = (Router(rule) for rule in ("round-robin", "least-loaded", "most-slack"))
    for router in (turns, loaded, slack):
        for machine in machines:
            router.add(machine)
    assert Counter(turns.choose([]) for _ in range(9)) == Counter(dict.fromkeys(machines, 3))
    assert loaded.choose([]) is machines[1] and loaded.choose([machines[1]]) is machines[2]
    assert Counter(slack.choose([]) for _ in range(6)) == Counter(dict.fromkeys(machines, 2)), "it counts whom it sent"
    slack.remove(machines[0])
    assert slack.choose(machines[1:]) is None


def test_machines_come_for_a_surge_and_go_after_it() -> None:
    plan = replace(
        PLAN,
        duration=200.0,
        surge=Surge(3.0, 40.0, 60.0),
        autoscaler=Autoscaler(spare=0.3, least=2, calm_seconds=30.0),
        drain_seconds=5.0,
    )
    report = play(plan)
    course = report.region.samples
    before, after = course[35], course[-1]
    most = max(sample.ready for sample in course)
    assert most > before.ready and after.ready < most
    assert any(sample.starting for sample in course)
    assert "failed" not in report.summary.listeners, "who is drained goes on elsewhere"
    assert any(listener.moves for listener in report.region.listeners)


def test_an_autoscaler_waits_before_it_shrinks() -> None:
    scaler = Autoscaler(spare=0.25, calm_seconds=60.0)
    assert scaler.machines(0.0, 100, 25.0) == 5
    assert scaler.machines(15.0, 20, 25.0) == 5
    assert scaler.machines(61.0, 20, 25.0) == 1


def test_prompts_are_worked_on_in_the_desks_order() -> None:
    desk, through = Desk(), []
    spoken, long, short = PromptWork(), PromptWork(), PromptWork()
    desk.append(spoken, 10, 0.1)
    desk.append(long, 300, 1.0)
    desk.commit(long, 0.0, lambda: through.append("long"))
    assert desk.awaited and desk.due_in == pytest.approx(1.0), "who only speaks can wait"
    assert not desk.work(0.4)
    desk.append(short, 100, 0.3)
    desk.commit(short, 0.1, lambda: through.append("short"))  # 75 frames later, but 80 fewer are left of it
    for done in desk.work(0.95):
        done()
    assert through == ["short", "long"] and len(desk) == 1 and not desk.awaited
    assert desk.due_in == pytest.approx(0.05)
    desk.commit(spoken, 2.0, lambda: through.append("spoken"))
    assert [done() for done in desk.work(0.06)] == [None] and through[-1] == "spoken" and not len(desk)


def test_the_measured_machine_is_one(tmp_path: Path) -> None:
    profile = read_profile(MEASURED)
    assert 10 < profile.bears(64, MOST_LOAD) <= 64
    assert profile.with_generator().bears(64, MOST_LOAD) <= profile.bears(64, MOST_LOAD)
    other = tmp_path / "machine.json"
    other.write_text("{}")
    with pytest.raises(ValueError, match="is not a machine's profile"):
        read_profile(other)
    with pytest.raises(ValueError, match="No such file"):
        read_profile(tmp_path / "none.json")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERGPT_MAX_LOAD", str(MOST_LOAD))
    profile, picture = tmp_path / "machine.json", tmp_path / "course.png"
    profile.write_bytes(msgspec.json.encode(PROFILE))
    arguments = ["--profile", str(profile), "--machines", "2", "--duration", "20", "--load", "0.5", "--die", "10"]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["heard"]["listeners"]["arrived"] > 10 and told["machine"]["bears"] == BEARS
    assert len(told["course"]) == 20 and told["plan"]["deaths"] == [10.0]
    assert main(arguments) == 0
    assert "time to first audio" in capsys.readouterr().out
    for wrong in (
        ["--seconds", "9:3"],
        ["--surge", "1:2"],
        ["--profile", str(tmp_path)],
        ["--listeners", "1e9"],
        ["--machines", "0"],
        ["--chunk", "99"],
        ["--plot", str(tmp_path / "none" / "course.png")],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *wrong])
        assert ended.value.code == 2
    draw(play(replace(PLAN, duration=15.0)), picture)
    assert picture.stat().st_size > 10_000 and asdict(PLAN)["machines"] == 2
