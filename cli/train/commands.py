"""``whispergpt train``: folders of audio prepared, then a codec, then a model on its codes, and measures of both."""

from __future__ import annotations

import typer

from whispergpt.cli.train.codec import codec
from whispergpt.cli.train.measure.codec import codec as measure_codec
from whispergpt.cli.train.measure.continuations import drift, piano, speech
from whispergpt.cli.train.models import fine, lm, own
from whispergpt.cli.train.preference import prefer
from whispergpt.cli.train.prepare import prepare
from whispergpt.cli.train.runs import curves, decoder, install, mean, push
from whispergpt.cli.train.study import app as study

app = typer.Typer(
    add_completion=False,
    help="Prepare audio, train a codec, then a model on its codes. All three go on where they stopped.",
)
measure = typer.Typer(
    add_completion=False,
    help="Measure how a codec and a model sound, by published measures; docs/measuring.md says what each is.",
)
for command in (prepare, codec, lm, fine, own, prefer, decoder, mean, install, push, curves):
    app.command()(command)
for command in (measure_codec, speech, piano, drift):
    measure.command()(command)
app.add_typer(measure, name="measure")
app.add_typer(study, name="study")
