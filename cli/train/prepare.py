"""``whispergpt train prepare``: folders of audio turned into data to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whispergpt.cli.arguments import tell_skipped, told_in_one_line
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.data.manifest import MANIFEST
from whispergpt.training.data.prepare import Preparation
from whispergpt.training.data.prepare import prepare as prepare_audio


def prepare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of audio: LibriSpeech's, MAESTRO's or any.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the prepared data, empty or new.")],
    group_by: Annotated[
        GroupBy,
        typer.Option(
            help="What training and held-out must not share: the speaker or work that the layout tells (auto), the "
            "first folder below the root, the single file, or MAESTRO's composer and title."
        ),
    ] = "auto",
    heldout: Annotated[
        int | None,
        typer.Option(
            help="Groups never trained on, chosen by a hash of their names. Default: 6 in 100, at least one. 0: for "
            "more recordings beside a folder that holds some out."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Files decoded at a time. Default: one a core, eight at most.")
    ] = None,
) -> None:
    """Turn folders of audio into shards of 24 kHz samples and a manifest, split by speaker or work."""
    with told_in_one_line():
        done = prepare_audio(folders, out, group_by, heldout, workers)
    _tell(out, done)


def _tell(out: Path, done: Preparation) -> None:
    """Write to stderr what was read and what was skipped."""
    manifest = done.manifest
    held = sum(clip.samples for clip in manifest.clips if clip.split == "heldout") / SAMPLE_RATE
    rule = ", MAESTRO's by its own split" if any(f.grouping == "maestro" for f in manifest.folders) else ""
    if not done.fresh:
        typer.echo(f"{out} is already prepared from these files, which have not changed; nothing to do", err=True)
    typer.echo(
        f"{len(manifest.clips)} files, {manifest.seconds / 3600:.2f} hours, {len(manifest.skipped)} skipped; "
        f"{held / 3600:.2f} hours are held out, groups: {len(manifest.heldout.groups)}{rule}",
        err=True,
    )
    tell_skipped([(file.path, file.reason) for file in manifest.skipped], f", listed in {out / MANIFEST}")
