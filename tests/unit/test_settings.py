"""Settings from the environment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from whispergpt.server.settings import Settings, unknown_variables


def test_what_kubernetes_says_of_a_service_is_told_apart_from_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERGPT_PORT", "tcp://10.96.0.17:80")
    with pytest.raises(ValidationError, match="enableServiceLinks: false"):
        Settings()
    monkeypatch.setenv("WHISPERGPT_PORT", "8001")
    assert Settings().port == 8001


def test_variables_that_set_nothing_are_found() -> None:
    known = [f"WHISPERGPT_{name.upper()}" for name in Settings.model_fields]
    assert unknown_variables([*known, "WHISPERGPT_CACHE", "WHISPERGPT_API_KEY", "PATH"]) == []
    assert unknown_variables(["WHISPERGPT_MAX_STREAM", *known]) == ["WHISPERGPT_MAX_STREAM"]


@pytest.mark.parametrize(
    ("device", "devices"),
    [
        ("auto", ["auto"]),
        ("all", ["all"]),
        ("cpu, cpu", ["cpu", "cpu"]),
        ("cpu,cuda:0", ["cpu", "cuda:0"]),
        ("cuda,cuda:1", ["cuda", "cuda:1"]),
    ],
)
def test_a_server_may_have_several_devices(device: str, devices: list[str]) -> None:
    assert Settings(device=device).devices == devices


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("tpu", "'tpu' is not a device"),
        ("cpu,", "'' is not a device"),
        ("cuda:", "'cuda:' is not a device"),
        ("cuda:x", "'cuda:x' is not a device"),
        ("cuda:1,cpu,cuda:1", "'cuda:1' is named twice"),
        ("cuda,cuda:0", "'cuda:0' is named twice"),
        ("all,cpu", "'all' chooses devices itself"),
        ("cpu,auto", "'auto' chooses devices itself"),
        (",".join(["cpu"] * 65), "65 devices are more than 64"),
    ],
)
def test_devices_that_cannot_be_are_one_sentence(device: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings(device=device)


@pytest.mark.parametrize("workers", ["0", "65", "many", "-1", 1.5])
def test_workers_are_a_number_or_auto(workers: object) -> None:
    assert [Settings(workers=given).front_ends for given in ("3", 2, "1")] == [3, 2, 1]
    assert Settings(workers="auto", device="cpu").front_ends == 1 <= Settings(workers="auto", device="cuda").front_ends
    with pytest.raises(ValidationError, match=f"1 to 64 workers, or auto, and not {workers}"):
        Settings(workers=workers)


def test_as_many_sessions_may_be_open_as_play_twice_over() -> None:
    assert [Settings(max_streams=streams).most_sessions for streams in (64, 1000)] == [256, 2000]
    assert Settings(max_streams=1000, max_sessions=3).most_sessions == 3
