"""How many replicas a fleet wants, from what each plays and has room for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from ray import cloudpickle
from ray.serve.config import AutoscalingContext, AutoscalingPolicy

from whispergpt.deploy.ray.load import load_of
from whispergpt.deploy.ray.policy import PLAYING, REST, SLACK, SPARE, Load, SlackPolicy, replicas_wanted
from whispergpt.deploy.ray.replica import ReplicaError, fleet_settings
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.places import Places


@pytest.mark.parametrize(
    ("loads", "target", "wanted"),
    [
        ([], 3, 3),  # nobody has said anything yet
        ([Load(0, 0)], 2, 2),  # a machine that bears nothing tells nothing
        ([Load(0, 40), Load(0, 40)], 2, 1),
        ([Load(30, 10)], 1, 1),  # just a quarter is free
        ([Load(31, 9)], 1, 2),
        ([Load(40, 0)], 1, 2),
        ([Load(40, -20)], 1, 3),  # twenty wait: 40 streams, where a replica bears 20
        ([Load(40, 0)], 3, 2),  # two more load their models, and one of them would do
        ([Load(31, 9), Load(0, 40)], 2, 2),  # on one, less than half would be free
        ([Load(20, 20), Load(0, 40)], 2, 1),
        ([Load(10, 0), Load(10, 70)], 2, 1),  # of unequal machines the average counts
    ],
)
def test_replicas_wanted(loads: list[Load], target: int, wanted: int) -> None:
    assert replicas_wanted(loads, target) == wanted


@pytest.mark.parametrize("capacity", [1, 2, 7, 40])
def test_slack_is_kept_and_the_number_does_not_swing(capacity: int) -> None:
    target = 1
    for streams in [*range(10 * capacity), *range(10 * capacity, -1, -1)]:
        each = streams / target
        wanted = replicas_wanted([Load(each, capacity - each)] * target, target)
        assert wanted * capacity * (1 - SPARE) >= streams
        if wanted < target:
            assert wanted == 1 or wanted * capacity * (1 - REST) >= streams
        settled = replicas_wanted([Load(streams / wanted, capacity - streams / wanted)] * wanted, wanted)
        assert settled == wanted
        target = wanted
    assert target == 1


def test_ray_gets_the_policy_whole() -> None:
    """Ray sends it to its controller by value, and calls it with what replicas report."""
    sent = AutoscalingPolicy(
        policy_function="whispergpt.deploy.ray.policy:SlackPolicy", policy_kwargs={"spare": 0.5, "rest": 0.5}
    )
    policy = cloudpickle.loads(sent.get_serialized_policy_def())(**sent.policy_kwargs)
    told = {PLAYING: {"a": 3.0, "b": 4.0}, SLACK: {"a": 1.0}}  # the last has said half of it
    context = cast(AutoscalingContext, SimpleNamespace(aggregated_metrics=told, target_num_replicas=1))
    assert policy(context) == (2, {})
    with pytest.raises(ValueError, match="spare"):
        SlackPolicy(spare=0.5, rest=0.4)


def test_a_replica_reports_its_fullest_model() -> None:
    slack = {"speech": 5, "piano": -1}
    places = Places()
    places.keep("speech", "realtime", at_once=True)
    link = SimpleNamespace(models=slack, slack=slack.__getitem__, live=lambda pace: ["stream"] * 3, places=places)
    assert load_of([cast(EngineLink, link)]) == {PLAYING: 4.0, SLACK: -1.0}
    assert load_of([cast(EngineLink, link)] * 2) == {PLAYING: 8.0, SLACK: -2.0}, "the sums of two engines"


def test_what_replicas_must_share_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESUME_KEY", "KEYS", "OPEN", "DEVICE"):
        monkeypatch.delenv(f"WHISPERGPT_{name}", raising=False)
    with pytest.raises(ReplicaError, match="WHISPERGPT_RESUME_KEY"):
        fleet_settings(has_gpu=False)
    monkeypatch.setenv("WHISPERGPT_RESUME_KEY", "all of them have this")
    with pytest.raises(ReplicaError, match="WHISPERGPT_KEYS"):
        fleet_settings(has_gpu=False)
    monkeypatch.setenv("WHISPERGPT_OPEN", "true")
    assert [fleet_settings(has_gpu).device for has_gpu in (False, True)] == ["cpu", "cuda"]
    monkeypatch.setenv("WHISPERGPT_DEVICE", "cuda:1")
    assert fleet_settings(has_gpu=False).device == "cuda:1"
