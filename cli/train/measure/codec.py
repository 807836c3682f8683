"""``whispergpt train measure codec``: recordings through a codec and its peers."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.options import expand_options
from whispergpt.cli.train.measure.options import MeasureOptions
from whispergpt.cli.train.measure.printed import head, show, table
from whispergpt.engine.checkpoints.checkpoint import codec_folder, find_model, load_codec
from whispergpt.training.data.manifest import hash_file
from whispergpt.training.measures.codec import CodecMeasures, RoundTrip, measure_codec
from whispergpt.training.measures.figures.listening import Kind
from whispergpt.training.measures.figures.packages import versions
from whispergpt.training.measures.figures.words import MODEL_PARTS, Recognizer
from whispergpt.training.measures.opus import OpusRoundTrip
from whispergpt.training.measures.recordings import find_recordings
from whispergpt.training.measures.report import Keeper
from whispergpt.training.measures.round_trip import CodecRoundTrip

FULL_RATE, NO_PEERS = [6.0], list[str]()


@expand_options
def codec(
    context: typer.Context,
    options: MeasureOptions,
    codec: Annotated[str, typer.Option(help="Folder of a codec's training run, or a model's name or folder.")],
    kbps: Annotated[
        list[float], typer.Option(help="Payload: 0.75 for each codebook used; may be repeated.")
    ] = FULL_RATE,
    against: Annotated[
        list[str], typer.Option(help="A peer and its rate, such as opus:12; may be repeated.")
    ] = NO_PEERS,
    kind: Annotated[
        Kind, typer.Option(help="Decides what listens: speech has PESQ and ViSQOL's speech mode.")
    ] = "speech",
    words: Annotated[bool, typer.Option("--words", help="Count word errors too.")] = False,
    language: Annotated[str, typer.Option(help="Spoken, as Whisper abbreviates it.")] = "en",
    files: Annotated[int | None, typer.Option(min=1, help="At most so many, chosen by a hash of names.")] = None,
    clip_seconds: Annotated[float, typer.Option(help="Of each recording, from its start.")] = 10.0,
) -> None:
    """Recordings through a codec and its peers, against the originals; the bits that went through are counted."""
    with told_in_one_line():
        if words and kind != "speech":
            raise ValueError("--words needs --kind speech.")
        torch.set_num_threads(1)  # as the engine does: the products are small, and threads wait for each other
        folder = find_model(codec)
        loaded = load_codec(folder)
        trips: list[RoundTrip] = [CodecRoundTrip(loaded, rate) for rate in kbps]
        trips += [_peer(told) for told in against]
        recordings = find_recordings(options.audio)
        keeper = Keeper(options.out, options.keep_audio)
        measures = CodecMeasures(kind, Recognizer(language) if words else None)
        result = measure_codec(recordings, trips, measures, clip_seconds, files, keeper)
        weights = codec_folder(folder) / "codec.safetensors"
        digest = hash_file(weights)[:8] if weights.is_file() else None
        packages = ["visqol", *(["pesq", "ai_edge_litert"] if kind == "speech" else [])]
        packages += ["faster_whisper", *MODEL_PARTS] if words else []
        programs = ("opusenc", "opusdec") if against else ()
        report = head(context, versions(packages, programs)) | {"codec": str(folder), "codec_digest": digest} | result
        keeper.report(report)
    show(report, options, _tables)


COLUMNS = {
    "payload_kbps": "kbps",
    "log_mel": "log-mel",
    "snr_db": "SNR dB",
    "si_sdr_db": "SI-SDR dB",
    "pesq": "PESQ",
    "visqol": "ViSQOL",
    "visqol_exp": "ViSQOL exp",
    "nsim": "NSIM",
    "word_error_rate": "word errors",
    "comb_db": "comb dB",
    "frame_correlation": "frame corr.",
    "high_band_db": "high band dB",
    "band_rise_db": "rise dB",
    "opened_share": "opened",
}
"""Names of the figures in the table, where any row has them."""


def _tables(report: dict[str, Any]) -> None:
    rows, files = report["means"], report["files"]
    shown = {key: name for key, name in COLUMNS.items() if any(row.get(key) is not None for row in rows)}
    table(["codec", *shown.values()], [[row["codec"], *(row.get(key) for key in shown)] for row in rows])
    typer.echo(f"means of {len(files)} recordings, {sum(file['seconds'] for file in files):.1f} s")
    if "word_error_rate" in shown:
        own = sum(file["word_reference"] != "transcript" for file in files)
        typer.echo(f"word errors: {own} of them against what Whisper hears in the original, for want of a transcript")


def _peer(told: str) -> OpusRoundTrip:
    name, _, rate = told.partition(":")
    try:
        kbps = float(rate)
    except ValueError:
        kbps = 0.0
    if name != "opus" or not kbps:
        raise ValueError(f"--against takes opus:KBPS, such as opus:6, not {told!r}.")
    return OpusRoundTrip(kbps)
