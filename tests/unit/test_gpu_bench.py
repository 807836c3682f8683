"""The measurements of `make gpu`, run on a CPU at small sizes, and parts that fail."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from whispergpt.benchmarks.gpu.__main__ import PARTS, main, measure
from whispergpt.benchmarks.gpu.options import options_for
from whispergpt.benchmarks.gpu.part import run_part
from whispergpt.benchmarks.gpu.summary import passed
from whispergpt.benchmarks.lower_bounds import H100, data_sheet


def test_the_parts_measure_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but the tests that need a GPU."""
    out = tmp_path / "new" / "gpu.json"
    chosen = [part for part in PARTS if part != "tests"]
    assert main(["--device", "cpu", "--out", str(out), "--only", *chosen]) == 0, out.read_text()
    report = json.loads(out.read_text())
    parts = report["parts"]
    assert list(parts) == chosen and not [name for name, found in parts.items() if "error" in found]
    assert parts["parity"]["prompt"]["equal_codes"] == 1 and parts["parity"]["streams"]["fewest_equal_frames"] == 3
    assert parts["parity"]["limited"]["equal_bits"]
    assert parts["parity"]["same_seed"]["equal_bits"] and parts["parity"]["prompts_together"]["equal_bits"]
    steps = parts["steps"]["streams"]
    assert list(steps) == ["2", "1"]
    for step in steps.values():
        assert step["stage_ms"].keys() == {"lm", "fine", "codec", "mel"} and step["share_of_floor"]["measured"] > 0
        assert step["step_ms"]["p50"] > 0 and step["engine_ms"]["p99"] > 0
    assert parts["prompts"]["prompts_per_second"] > 0 and parts["prompts"]["starts_per_second"] > 0
    beside = parts["prompts"]["steps_beside_prompts"]
    assert beside["streams"] == 2 and beside["prompts_per_second"] >= 0 and beside["beside_ms"]["p99"] > 0
    assert parts["streams"]["default"]["realtime_streams"] == 2
    listeners = parts["sockets"]["listeners"]
    assert listeners["outcomes"]["completed"] == 2 and listeners["most_at_once"] == 2
    assert parts["sockets"]["at_20_a_second"]["time_to_first_audio_ms"]["p50"] > 0
    assert parts["peers"]["plain_loop"]
    said = capsys.readouterr().out
    at_once = f"listeners over sockets: {listeners['at_first_gap']} at once"  # fewer than 2 on a busy machine
    assert "step of 2:" in said and at_once in said and "equal bits" in said


def test_a_part_that_fails_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, a package that is missing, a crash, and a part that hangs with a process of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    begin = "import os, subprocess, sys, time\ndef run(options, tell):\n    tell({'first': 1})\n    "
    child = tmp_path / "child"
    bodies = {
        "wg_raises": "raise ValueError('no such thing\\nand more')",
        "wg_lacks": "import wg_not_there",
        "wg_dies": "os._exit(7)",
        "wg_hangs": f"open({str(child)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid)); time.sleep(60)",
        "wg_works": "tell({'second': options.steps})",
        "wg_tries": (
            "from whispergpt.benchmarks.gpu.part import Trials\n    trials = Trials(tell)\n    "
            "with trials.trial('odd'): raise ValueError('no such size')\n    tell({'second': 2})\n    "
            "with trials.trial('lost'): raise RuntimeError('CUDA error: gone')\n    tell({'third': 3})"
        ),
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(begin + body)
    found = {name: run_part(name, options_for("cpu"), 3.0) for name in bodies}
    assert all(part["first"] == 1 for part in found.values())
    assert (
        found["wg_raises"]["error"] == "ValueError: no such thing" and "wg_raises.py" in found["wg_raises"]["traceback"]
    )
    assert found["wg_lacks"]["missing"] == "wg_not_there" and "error" not in found["wg_lacks"]
    assert found["wg_dies"]["error"] == "This part's process ended with status 7."
    assert found["wg_hangs"]["error"] == "This part was ended after its 3 s." and found["wg_hangs"]["seconds"] < 20
    assert found["wg_works"] == {"first": 1, "second": 3, "seconds": found["wg_works"]["seconds"]}
    tried = found["wg_tries"]
    assert tried["failed"] == {"odd": "ValueError: no such size", "lost": "RuntimeError: CUDA error: gone"}
    assert tried["second"] == 2 and "third" not in tried and tried["error"] == "RuntimeError: CUDA error: gone"
    assert not passed({"parts": {"steps": {"failed": {"odd": "ValueError: no such size"}}}})
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child.read_text()}/cmdline").exists() and _runs(child.read_text()):
        assert time.monotonic() < deadline, "what a part started outlived it"
        time.sleep(0.05)


def _runs(pid: str) -> bool:
    try:
        return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_without_time_parts_are_named(tmp_path: Path) -> None:
    report = measure(options_for("cpu"), 0.0, ["parity"], tmp_path / "gpu.json")
    assert report["parts"] == {"parity": {"error": "No time was left of 0 s."}} and not passed(report)
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"] == report["parts"]
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.json"], "no partial file is left"


def test_a_device_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--device", "cuda:63"])
    assert ended.value.code == 2
    assert "This machine has no device 'cuda:63' that torch" in capsys.readouterr().err


def test_data_sheets_are_found_by_the_names_of_devices() -> None:
    assert data_sheet("NVIDIA H100 80GB HBM3") is H100
    for name in ("NVIDIA H200", "NVIDIA A100-SXM4-80GB", "NVIDIA L4"):
        sheet = data_sheet(name)
        assert sheet is not None and sheet.name in name
    assert data_sheet("NVIDIA H100 PCIe") is None and data_sheet("NVIDIA L40S") is None
