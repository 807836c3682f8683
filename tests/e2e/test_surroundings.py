"""Models, health, metrics, documentation, and the envelope around every refusal."""

from __future__ import annotations

import subprocess

import pytest
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import SPEECH
from tests.support.http import HTTP
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.tools import require_tool
from whispergpt.engine.checkpoints.installed import package_version


def test_models(server: str, client: Client) -> None:
    models = client.models()
    assert models
    assert models[0].parameters > 1_000_000
    assert (models[0].sample_rate, models[0].frame_rate) == (24_000, 75)
    assert {"temperature", "top_k", "top_p"} <= models[0].defaults.keys()
    assert models[0].licence
    raw = HTTP.get(f"{server}/v1/models").json()
    assert all(entry["object"] == "model" for entry in raw["data"])


def test_health(server: str, client: Client) -> None:
    assert HTTP.get(f"{server}/health/live").status_code == 200
    assert client.ready()


def test_documentation(server: str) -> None:
    page = HTTP.get(f"{server}/docs")
    assert page.status_code == 200
    assert "html" in page.headers["content-type"]
    paths = HTTP.get(f"{server}/openapi.json").json()["paths"]
    assert {"/continue", "/v1/models", "/health/live", "/health/ready"} <= paths.keys()


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/nothing-here", 404, "/nothing-here"),
        ("GET", "/continue", 405, "POST"),
        ("POST", "/v1/models", 405, "GET"),
        ("DELETE", "/health/live", 405, "GET"),
    ],
)
def test_wrong_addresses_get_the_envelope(server: str, method: str, path: str, status: int, word: str) -> None:
    answer = HTTP.request(method, f"{server}{path}")
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"type", "code", "message", "param"}
    assert word in error["message"]
    assert answer.headers["x-request-id"]


def test_the_client_says_where_nothing_answers() -> None:
    with Client("http://127.0.0.1:9") as nowhere:
        with pytest.raises(WhisperGPTError, match=r"127\.0\.0\.1:9") as refused:
            nowhere.ready()
        assert refused.value.type == "connection_error"
        with pytest.raises(WhisperGPTError, match=r"127\.0\.0\.1:9"):
            list(nowhere.stream(SPEECH))
    with pytest.raises(ValueError, match="http://host:port"):
        Client("localhost:8000")


def test_metrics_count_what_happened(server: str, client: Client) -> None:
    wait_for_idle(server)
    before = Metrics(server)
    frames = 75
    for pace in ("realtime", "fast"):
        client.continue_file(SPEECH, seconds=1)
        list(client.stream(SPEECH, seconds=1, pace=pace))
    wait_for_idle(server)
    after = Metrics(server)

    def grown(name: str, **labels: str) -> float:
        return after.sum(f"whispergpt_{name}", **labels) - before.sum(f"whispergpt_{name}", **labels)

    model = client.models()[0].id
    assert grown("time_to_first_audio_seconds_count", model=model) == 4
    assert grown("inter_frame_seconds_count", model=model) == 4 * (frames - 1)
    hits, misses = (grown("prompt_cache_lookups_total", model=model, outcome=outcome) for outcome in ("hit", "miss"))
    assert hits + misses == 4 and hits >= 3, "the same prompt is encoded once"
    assert grown("prompt_encode_seconds_count", model=model) == misses
    assert grown("request_queue_seconds_count", model=model) == 4
    assert grown("realtime_factor_count", model=model) == 4
    assert grown("request_duration_seconds_count") == 4
    assert grown("frames_total", model=model) == 4 * frames
    assert grown("requests_total", outcome="completed") == 4
    assert grown("requests_total", outcome="failed") == 0
    assert grown("frame_step_seconds_count", model=model) >= 4 * frames
    assert grown("batch_size_count", model=model) == grown("frame_step_seconds_count", model=model)
    stages = {stage: after.sum("whispergpt_stage_seconds_count", stage=stage) for stage in ("lm", "codec", "mel")}
    assert min(stages.values()) >= 1, stages
    assert len(set(stages.values())) == 1, stages
    assert 0 < grown("inter_frame_seconds_sum") < 600
    assert after.sum("whispergpt_streams_active") == 0
    assert after.sum("whispergpt_streams_waiting") == 0
    assert after.sum("whispergpt_slots") >= 1
    assert grown("largest_message_gap_seconds_count", model=model, route="/stream") == 1, "fast is not heard meanwhile"
    assert grown("largest_message_gap_seconds_count", route="/continue") == 0, "a whole answer has no messages"
    assert after.sum("whispergpt_build_info", version=package_version()) == 1
    for name in ("playback_lead_seconds", "underruns_total", "rejected_total", "slow_client_total"):
        assert after.described(f"whispergpt_{name}"), name


def test_promtool_has_nothing_to_say_of_the_metrics(server: str, client: Client) -> None:
    list(client.stream(SPEECH, seconds=0.2))
    shown = HTTP.get(f"{server}/metrics")
    command = [require_tool("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=shown.text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert "_created" not in shown.text
