"""The page of a model on the Hugging Face Hub: its card, below a head that the hub reads."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path
from typing import Any, cast

import msgspec
from huggingface_hub import EvalResult, ModelCard, ModelCardData

CARD = "MODEL_CARD.md"
EVALUATION = "eval.json"
"""Output of ``whispergpt eval --json`` that is saved in the model's folder."""
LOGS = ("log.jsonl", "log-model.jsonl")
"""Log of a run, and of an installed model."""
TAGS = ["audio", "audio-continuation", "whisper-gpt", "arxiv:2412.11449"]
LICENCES = {
    *("apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "openrail", "cc0-1.0", "unlicense", "unknown"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
}
"""Identifiers of the hub; other licences are ``other``, with a name."""
TASK = "audio-to-audio"


def page_of(folder: Path, name: str, licence: str) -> str:
    """Return ``README.md`` of a model's repository: ``MODEL_CARD.md``, or a short text where there is none.

    What the card has as its own YAML head stays; the rest of the head is added.

    Args:
        folder: the model's.
        name: ``OWNER/NAME``.
        licence: as ``config.json`` gives it.

    Raises:
        ValueError: the card's head or ``eval.json`` cannot be read.
    """
    card = folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else _short_text(name, licence)
    head, body = ModelCardData(), text
    if text.startswith("---"):
        parsed = ModelCard(text)
        head, body = cast(ModelCardData, parsed.data), parsed.text
    if head.license is None:
        known = licence.lower() in LICENCES
        head.license = licence.lower() if known else "other"
        head.license_name = None if known else licence
    head.library_name = head.library_name or "whispergpt"
    head.pipeline_tag = head.pipeline_tag or TASK
    head.tags = list(dict.fromkeys([*(head.tags or []), *TAGS]))
    if head.eval_results is None and (results := _evaluation(folder) or _held_out(folder)):
        head.eval_results, head.model_name = results, name
        head.metrics = head.metrics or list(dict.fromkeys(result.metric_type for result in results))
    return f"---\n{head.to_yaml()}\n---\n\n{body.lstrip()}"


def _short_text(name: str, licence: str) -> str:
    return (
        f"# {name.partition('/')[2]}\n\n"
        "A WHISPER-GPT model (arXiv 2412.11449), which continues a few seconds of sound. Licence of the weights: "
        f"{licence}.\n\n"
        f"```sh\npip install 'whispergpt[hub]'\nwhispergpt serve --model hf://{name}\n```\n"
    )


def _evaluation(folder: Path) -> list[EvalResult]:
    """Return the figures of ``eval.json``; of several models there, those of the first."""
    path = folder / EVALUATION
    if not path.is_file():
        return []
    try:
        result = json.loads(path.read_text())
        row = result["models"][0]
        figures = {metric: float(row[metric]) for metric in ("nll", "perplexity", "accuracy")}
        return _results(figures, f"{row['files']} recordings", str(result["condition"]))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path} is not what `whispergpt eval --json` prints ({error!r}).") from None


def _held_out(folder: Path) -> list[EvalResult]:
    """Return the last figures for held-out recordings in the log of the run, if it has any."""
    log = next((folder / name for name in LOGS if (folder / name).is_file()), None)
    lines: list[dict[str, Any]] = [] if log is None else [_parsed(line) for line in log.read_text().splitlines()]
    for line in reversed(lines):
        for condition in ("decoded", "original"):  # a token-only model, which hears no slices, has the latter alone
            nll, accuracy = line.get(f"heldout_{condition}"), line.get(f"accuracy_{condition}")
            if isinstance(nll, float) and isinstance(accuracy, float):
                figures = {"nll": nll, "perplexity": exp(nll), "accuracy": accuracy}
                return _results(figures, "held-out part of the training data", condition)
    return []


def _parsed(line: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:  # the line that a killed run was writing
        return {}


def _results(figures: dict[str, float], recordings: str, condition: str) -> list[EvalResult]:
    """Return figures of the next coarse code, as the hub's index has them."""
    return [
        EvalResult(
            task_type=TASK,
            dataset_type="audio",
            dataset_name=recordings,
            dataset_config=condition,
            metric_type=metric,
            metric_name=f"next coarse code, slices of {condition} audio: {metric}",
            metric_value=round(value, 4),
        )
        for metric, value in figures.items()
    ]
