"""Counters and histograms of several front ends, as the hub reads them for whichever front end is asked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from whispergpt.server.observe.front_end_metrics import Reading
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.workers import counts
from whispergpt.server.workers import messages as m
from whispergpt.server.workers.counts import CountsReader

TEXT, OPEN = "", "application/openmetrics-text; version=1.0.0"
FRONT_END = """
import sys
from pathlib import Path
from whispergpt.server.observe import front_end_metrics
front_end_metrics.write_to(Path(sys.argv[1]), sys.argv[2])
from whispergpt.server.observe.metrics import Metrics
metrics = Metrics()
metrics.frames.labels("speech").inc(float(sys.argv[3]))
metrics.batch_size.labels("speech").observe(float(sys.argv[3]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of two front ends that have ended."""
    for name, frames in (("worker-1", "3"), ("worker-2", "40")):
        subprocess.run([sys.executable, "-c", FRONT_END, str(tmp_path), name, frames], check=True)
    return tmp_path


def samples(text: bytes) -> dict[str, float]:
    """The values by name and model or bound."""
    return {
        f"{one.name}{one.labels.get('le', '')}": one.value
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    }


def test_the_sums_of_all_are_shown_beside_the_gauges_of_one(folder: Path) -> None:
    text, content_type = Metrics().render(TEXT, Reading(folder).text(TEXT))
    found = samples(text)
    assert content_type.startswith("text/plain")
    assert found["whispergpt_frames_total"] == 43
    assert found["whispergpt_batch_size_bucket4.0"] == 1 and found["whispergpt_batch_size_bucket+Inf"] == 2
    assert "whispergpt_ready" in found
    names = [line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_the_parts_are_one_text_in_openmetrics_too(folder: Path) -> None:
    for counts_of_all in (Reading(folder).text(OPEN), None):
        text, content_type = Metrics().render(OPEN, counts_of_all)
        assert content_type.startswith("application/openmetrics-text")
        assert text.count(b"# EOF\n") == 1 and text.endswith(b"# EOF\n")


def test_who_asks_while_the_hub_reads_or_rests_gets_the_next_reading(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[float] = []

    class Counted(Reading):
        def __init__(self, folder: Path) -> None:
            readings.append(asyncio.get_running_loop().time())
            super().__init__(folder)

    monkeypatch.setattr(counts, "Reading", Counted)

    async def ask() -> None:
        reader = CountsReader(folder)
        for _ in range(3):
            answers = await asyncio.gather(*(reader.answer(m.ShowCounts(form)) for form in (TEXT, OPEN) * 20))
            assert len({answer.text for answer in answers if isinstance(answer, m.Counts)}) == 2

    asyncio.run(ask())
    assert len(readings) == 3


def test_a_front_end_is_told_where_the_files_cannot_be_read(folder: Path) -> None:
    (folder / "counter_worker-1.db").write_bytes(b"no such file")
    answer = asyncio.run(CountsReader(folder).answer(m.ShowCounts(TEXT)))
    assert isinstance(answer, m.Refusal) and answer.status == 500
