"""Tables of a page are what the files say: read by code, and found out where they were not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer

from whispergpt.training.study.tables import fill, main


def model(name: str, nll: float, above: float | None) -> dict[str, object]:
    told: dict[str, object] = {
        "model": name,
        "parameters": 3_700_000,
        "nll": nll,
        "nll_interval": [nll - 0.1, nll + 0.1],
    }
    told |= {"accuracy": 0.3418, "perplexity": 7.54}
    return told if above is None else told | {"nll_above_first": above, "nll_above_first_interval": None}


def page(tmp_path: Path, kind: str, *names: str) -> str:
    return fill(f"before\n<!-- table: {kind} {' '.join(names)} -->\nold\n<!-- end of table -->\nafter\n", tmp_path)


def test_the_papers_table(tmp_path: Path) -> None:
    models = [model("hybrid", 2.0, None), model("gpt-s", 2.1234, 0.1234)]
    (tmp_path / "eval.json").write_text(json.dumps({"condition": "original", "models": models}))
    text = page(tmp_path, "evaluation", "eval.json")
    assert text.startswith("before\n<!-- table: evaluation eval.json -->\n| model | parameters | NLL, nats |")
    assert "| gpt-s | 3.7M | 2.123 (2.023 to 2.223) | 34.18 % | 7.54 | +0.123 |\n<!-- end of table -->\nafter" in text
    assert "old" not in text and fill(text, tmp_path) == text


def test_what_slices_are_of(tmp_path: Path) -> None:
    for condition, nll in (("original", 2.0), ("decoded", 2.025)):
        told = {"condition": condition, "models": [model("hybrid", nll, None)]}
        (tmp_path / f"{condition}.json").write_text(json.dumps(told))
    text = page(tmp_path, "conditions", "original.json", "decoded.json")
    assert (
        "| model | original | decoded | decoded above original |" in text
        and "| hybrid | 2.000 | 2.025 | +0.025 |" in text
    )


def test_losses_of_runs(tmp_path: Path) -> None:
    lines: list[dict[str, float]] = [{"step": 100, "train": 2.5}]
    lines += [
        {"step": step, "heldout_original": nll, "accuracy_original": 0.25} for step, nll in ((50, 3.0), (100, 3.1))
    ]
    run = tmp_path / "gpt-l"
    run.mkdir()
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ended = "100 | 2.500 | 3.100 | 25.0 % | 22.2 | 3.000 at 50 |"
    assert f"| gpt-l |  |  | {ended}" in page(tmp_path, "losses", "gpt-l/log.jsonl")
    found = []
    for seed in (7, 8):
        (run / "run.json").write_text(json.dumps({"recipe": {"seed": seed}}))
        row = page(tmp_path, "losses", "gpt-l").splitlines()[4].split(" | ")
        assert row[2] == str(seed) and " | ".join(row[3:]) == ended
        found.append(row[1])
    assert found[0] != found[1] and all(len(name) == 8 for name in found)


def test_studies(tmp_path: Path) -> None:
    cell = {"nll": 0.5, "interval": [0.4, 0.6]}
    lost = [{"hz": [40, 300], **cell}]
    told = {"model": "hybrid", "by_context": [{"context": [4, 7], **cell}], "lost_without": lost, **cell}
    (tmp_path / "study.json").write_text(json.dumps({"models": [told | {"lost_without_all": cell}]}))
    assert "| 4 to 7 | 0.500 (0.400 to 0.600) |" in page(tmp_path, "context", "study.json")
    text = page(tmp_path, "bands", "study.json")
    assert "| 40 to 300 Hz | +0.500 (+0.400 to +0.600) |" in text and "| everything | +0.500" in text


def test_files_that_make_no_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text("[]")
    with pytest.raises(ValueError, match=r"no table of kind 'guess', only evaluation"):
        page(tmp_path, "guess", "eval.json")
    with pytest.raises(ValueError, match=r"eval\.json makes no table of kind 'evaluation'"):
        page(tmp_path, "evaluation", "eval.json")
    with pytest.raises(ValueError, match=r"missing\.json makes no table"):
        page(tmp_path, "bands", "missing.json")


def test_a_typed_number_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eval.json").write_text(json.dumps({"condition": "original", "models": [model("hybrid", 2.0, None)]}))
    written = tmp_path / "page.md"
    written.write_text("<!-- table: evaluation eval.json -->\n<!-- end of table -->\n")

    def command(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tables", str(written), *more])
        with pytest.raises(SystemExit) as ended:
            typer.run(main)
        return int(ended.value.code or 0)

    assert command("--check") == 1
    assert command() == 0 and command("--check") == 0
    written.write_text(written.read_text().replace("2.000", "1.900"))
    assert command("--check") == 1


def test_the_page_of_the_papers_table_is_what_its_files_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "paper.md"
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- table: ") >= 10 and fill(text, page.parent) == text, "run training.tables"
