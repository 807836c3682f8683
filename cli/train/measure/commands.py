"""``whispergpt train measure``: how good a trained codec and a trained model sound."""

from __future__ import annotations

import typer

from whispergpt.cli.train.measure.codec import codec
from whispergpt.cli.train.measure.drift import drift
from whispergpt.cli.train.measure.piano import piano
from whispergpt.cli.train.measure.speech import speech

app = typer.Typer(
    add_completion=False,
    help="Measure how a codec and a model sound, by published measures; docs/measuring.md says what each is.",
)
for command in (codec, speech, piano, drift):
    app.command()(command)
