"""``whispergpt train measure speech``: continuations of voices."""

from __future__ import annotations

import json

import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.train.measure.continued import continued
from whispergpt.cli.train.measure.options import (
    AsJson,
    Device,
    KeepAudio,
    Model,
    Out,
    Prompts,
    PromptSeconds,
    Seconds,
    Seed,
    Slots,
    Sources,
    Temperature,
    TopK,
    TopP,
)
from whispergpt.cli.train.measure.printed import fault_rows, head, number, table, tell
from whispergpt.server.parameters import Wishes
from whispergpt.training.measures.figures.packages import need, versions
from whispergpt.training.measures.prompts import cut_prompts
from whispergpt.training.measures.recordings import find_recordings
from whispergpt.training.measures.report import Keeper
from whispergpt.training.measures.speech import LEAST_REST_SECONDS, measure_speech


def speech(
    context: typer.Context,
    audio: Sources,
    model: Model = None,
    prompts: Prompts = 100,
    prompt_seconds: PromptSeconds = 3.0,
    seconds: Seconds = 8.0,
    seed: Seed = 0,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    device: Device = "auto",
    slots: Slots = 16,
    out: Out = None,
    keep_audio: KeepAudio = False,
    as_json: AsJson = False,
) -> None:
    """Continuations of voices: quality (DNSMOS), whose voice it is (Resemblyzer), how much is silence."""
    with told_in_one_line():
        need("speechmos.dnsmos", "DNSMOS")
        need("resemblyzer", "Speaker similarity")
        recordings, keeper = find_recordings(audio), Keeper(out, keep_audio)
        found = cut_prompts(recordings, prompts, prompt_seconds, seconds, min(seconds, LEAST_REST_SECONDS))
        wishes = Wishes(seed, temperature, top_k, top_p)
        beginning = head(context, versions(("speechmos", "resemblyzer")))
        report = continued(beginning, measure_speech, model, device, slots, found, recordings, seconds, wishes, keeper)
    if as_json:
        typer.echo(json.dumps(report))
        return
    row = report["means"]
    voices = {"the prompt's halves": "halves", "the true rest": "rest", "another speaker": "stranger"}
    compared = [
        ("DNSMOS overall", "dnsmos", {"the prompt after the codec": "prompt", "the prompt": "original"}),
        ("speaker similarity to the prompt", "likeness", voices),
        ("share of silence", "silence", {"the true rest": "rest"}),
    ]
    rows = [
        [name, row[key], ", ".join(f"{told} {number(row[f'{key}_{of}'])}" for told, of in others.items())]
        for name, key, others in compared
    ]
    table(["measure", "continuation", "compared with"], rows + fault_rows(row))
    below, alike, silent = (number(row[key]) for key in ("dnsmos_below_prompt", "likeness_ratio", "silence_ratio"))
    typer.echo(
        f"{below} below the prompt after the codec; {alike} of the halves' similarity; {silent} of the true silence"
    )
    tell(report, out)
