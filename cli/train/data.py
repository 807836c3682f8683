"""Prepared folders as `whispergpt train` loads them, and their tokens."""

from __future__ import annotations

from pathlib import Path

import typer

from whispergpt.engine.config import MelConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.training.data.alteration import UNALTERED, Alteration
from whispergpt.training.data.datasets import AudioSet, load_prepared
from whispergpt.training.data.tokens import Tokens, tokenize


def load_folders(folders: list[Path]) -> AudioSet:
    """Return the audio of prepared folders; how much it is goes to stderr."""
    data = load_prepared(folders)
    typer.echo(f"{data.train.seconds / 3600:.2f} h to train on, {data.heldout.seconds / 3600:.2f} h held out", err=True)
    return data


def load_tokens(
    audio: AudioSet, codec: Codec, mel: MelConfig, cache: Path, copies: list[Alteration]
) -> tuple[list[Tokens], Tokens]:
    """Return the tokens to learn from, the recordings before their altered copies, and those to check with."""
    train = [tokenize(audio.train, codec, mel, cache, alteration) for alteration in (UNALTERED, *copies)]
    return train, tokenize(audio.heldout, codec, mel, cache)
