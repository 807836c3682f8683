"""``whispergpt train measure codec``: recordings through a codec and its peers."""

from __future__ import annotations

import json
from typing import Annotated

import torch
import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.train.measure.options import AsJson, KeepAudio, Out, Sources
from whispergpt.cli.train.measure.printed import head, table, tell
from whispergpt.engine.checkpoints.checkpoint import codec_folder, find_model, load_codec
from whispergpt.training.data.manifest import hash_file
from whispergpt.training.measures.codec import CodecMeasures, measure_codec
from whispergpt.training.measures.figures.listening import Kind
from whispergpt.training.measures.figures.packages import versions
from whispergpt.training.measures.figures.words import MODEL_PARTS, Recognizer
from whispergpt.training.measures.opus import OpusRoundTrip
from whispergpt.training.measures.recordings import find_recordings
from whispergpt.training.measures.report import Keeper
from whispergpt.training.measures.round_trip import CodecRoundTrip, RoundTrip

FULL_RATE, NO_PEERS = [6.0], list[str]()


def codec(
    context: typer.Context,
    audio: Sources,
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
    out: Out = None,
    keep_audio: KeepAudio = False,
    as_json: AsJson = False,
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
        recordings = find_recordings(audio)
        keeper = Keeper(out, keep_audio)
        measures = CodecMeasures(kind, Recognizer(language) if words else None)
        result = measure_codec(recordings, trips, measures, clip_seconds, files, keeper)
        weights = codec_folder(folder) / "codec.safetensors"
        digest = hash_file(weights)[:8] if weights.is_file() else None
        packages = ["visqol", *(["pesq", "ai_edge_litert"] if kind == "speech" else [])]
        packages += ["faster_whisper", *MODEL_PARTS] if words else []
        programs = ("opusenc", "opusdec") if against else ()
        report = head(context, versions(packages, programs)) | {"codec": str(folder), "codec_digest": digest} | result
        keeper.report(report)
    if as_json:
        typer.echo(json.dumps(report))
        return
    names = {"payload_kbps": "kbps", "log_mel": "log-mel", "snr_db": "SNR dB", "si_sdr_db": "SI-SDR dB", "pesq": "PESQ"}
    names |= {"visqol": "ViSQOL", "visqol_exp": "ViSQOL exp", "nsim": "NSIM", "word_error_rate": "word errors"}
    names |= {"comb_db": "comb dB", "frame_correlation": "frame corr.", "high_band_db": "high band dB"}
    names |= {"band_rise_db": "rise dB", "opened_share": "opened"}
    shown = {key: name for key, name in names.items() if any(row.get(key) is not None for row in report["means"])}
    table(["codec", *shown.values()], [[row["codec"], *(row.get(key) for key in shown)] for row in report["means"]])
    typer.echo(f"means of {len(report['files'])} recordings, {sum(f['seconds'] for f in report['files']):.1f} s")
    if words:
        own = sum(file["word_reference"] != "transcript" for file in report["files"])
        typer.echo(f"word errors: {own} of them against what Whisper hears in the original, for want of a transcript")
    tell(report, out)


def _peer(told: str) -> RoundTrip:
    name, _, rate = told.partition(":")
    try:
        kbps = float(rate)
    except ValueError:
        kbps = 0.0
    if name != "opus" or not kbps:
        raise ValueError(f"--against takes opus:KBPS, such as opus:6, not {told!r}.")
    return OpusRoundTrip(kbps)
