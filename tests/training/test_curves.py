"""Learning curves are read from logs and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whispergpt.cli.main import main
from whispergpt.training.study.curves import read_curve


def run(folder: Path, heldout: list[float]) -> Path:
    """A run's folder whose held-out NLL went like this, every 100 steps."""
    folder.mkdir()
    lines: list[dict[str, float]] = [{"step": 0, "unigram_nll": 6.0}]
    for check, nll in enumerate(heldout, start=1):
        lines.append({"step": 100 * check, "train": nll - 0.1, "seconds": 1.0})
        known = {"heldout_original": nll, "accuracy_original": 0.2 + 0.01 * check, "heldout_decoded": nll + 0.05}
        lines.append({"step": 100 * check, **known})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["train", "curves", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_a_curve_is_what_the_log_says(tmp_path: Path) -> None:
    curve = read_curve(run(tmp_path / "hybrid", [4.0, 3.0, 3.5]))
    assert (curve.name, curve.best) == ("hybrid", (200, 3.0))
    assert curve.steps == curve.train_steps == [100, 200, 300]
    assert curve.train == pytest.approx([3.9, 2.9, 3.4]) and curve.accuracy == pytest.approx([0.21, 0.22, 0.23])


def test_a_resumed_run_repeats_nothing(tmp_path: Path) -> None:
    log = run(tmp_path / "hybrid", [4.0, 3.0, 3.5]) / "log.jsonl"
    again = [
        {"step": step, "heldout_original": nll, "accuracy_original": 0.2} for step, nll in ((200, 3.1), (300, 2.9))
    ]
    log.write_text(log.read_text() + "".join(json.dumps(line) + "\n" for line in again))
    curve = read_curve(log)
    assert (curve.name, curve.steps, curve.heldout) == ("hybrid", [100, 200, 300], [4.0, 3.1, 2.9])


def test_runs_are_drawn_together(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, [4.0, 3.0]) for name in ("gpt-s", "gpt-l", "hybrid")]
    assert command(*runs, "-o", tmp_path / "figure.svg", "--title", "Speech") == 0
    drawn = (tmp_path / "figure.svg").read_text()
    assert drawn.count("<svg") == 1 and all(name in drawn for name in ("gpt-s", "gpt-l", "hybrid", "Speech"))


def test_what_is_no_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path / "nothing", "-o", tmp_path / "figure.svg") == 2
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "log.jsonl").write_text('{"step": 0}\n')
    assert command(tmp_path / "young", "-o", tmp_path / "figure.svg") == 2
    (tmp_path / "codec.jsonl").write_text("not a log\n")
    assert command(tmp_path / "codec.jsonl", "-o", tmp_path / "figure.svg") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 3 and "no check" in said and said.count("is not the log of a model's run") == 2
