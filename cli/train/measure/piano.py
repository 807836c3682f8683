"""``whispergpt train measure piano``: continuations of pieces."""

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
from whispergpt.cli.train.measure.printed import fault_rows, head, table, tell
from whispergpt.server.parameters import Wishes
from whispergpt.training.measures.figures.packages import need, versions
from whispergpt.training.measures.piano import measure_piano
from whispergpt.training.measures.prompts import cut_prompts
from whispergpt.training.measures.recordings import find_recordings
from whispergpt.training.measures.report import Keeper


def piano(
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
    """Continuations of pieces: are pace and pitch classes nearer to the true continuation's or another piece's?"""
    with told_in_one_line():
        need("librosa", "Onsets and pitch classes")
        recordings, keeper = find_recordings(audio), Keeper(out, keep_audio)
        found = cut_prompts(recordings, prompts, prompt_seconds, seconds, seconds)
        wishes = Wishes(seed, temperature, top_k, top_p)
        beginning = head(context, versions(("librosa",)))
        report = continued(beginning, measure_piano, model, device, slots, found, recordings, seconds, wishes, keeper)
    if as_json:
        typer.echo(json.dumps(report))
        return
    row = report["means"]
    table(
        ["measure", "nearer to its own", "its prompt is", "continuation", "true one", "another piece"],
        [
            [
                "onsets a second",
                row["onsets_nearer"],
                row["onsets_nearer_prompt"],
                row["onsets"],
                row["onsets_true"],
                row["onsets_other"],
            ],
            [
                "distance of pitch classes",
                row["pitch_nearer"],
                row["pitch_nearer_prompt"],
                None,
                row["pitch_distance_true"],
                row["pitch_distance_other"],
            ],
        ],
    )
    table(["measure", "continuation", "compared with"], fault_rows(row))
    tell(report, out)
