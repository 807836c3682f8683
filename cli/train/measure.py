"""``whispergpt train measure``: how good a trained codec and a trained model sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from whispergpt.cli.arguments import check_finite, default_model, told_in_one_line
from whispergpt.cli.train.measured import fault_rows, head, number, table, tell
from whispergpt.engine.checkpoints.checkpoint import codec_folder, find_model, load_codec
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages import SamplingParams
from whispergpt.server.errors import ApiError
from whispergpt.server.parameters import RANGES, Wishes, check_wishes, sampling_for
from whispergpt.training.data.manifest import hash_file
from whispergpt.training.measures.codec import CodecMeasures, measure_codec
from whispergpt.training.measures.drift import MEASURES, check_minutes, measure_drift
from whispergpt.training.measures.drift_plot import PLOT, draw_drift
from whispergpt.training.measures.figures.listening import Kind
from whispergpt.training.measures.figures.packages import need, versions
from whispergpt.training.measures.figures.words import MODEL_PARTS, Recognizer
from whispergpt.training.measures.opus import OpusRoundTrip
from whispergpt.training.measures.piano import measure_piano
from whispergpt.training.measures.prompts import CutPrompt, cut_prompts
from whispergpt.training.measures.recordings import Recordings, find_recordings
from whispergpt.training.measures.report import Keeper
from whispergpt.training.measures.round_trip import CodecRoundTrip, RoundTrip
from whispergpt.training.measures.speech import LEAST_REST_SECONDS, measure_speech

app = typer.Typer(
    add_completion=False,
    help="Measure how a codec and a model sound, by published measures; docs/measuring.md says what each is.",
)

Sources = Annotated[
    list[Path],
    typer.Argument(metavar="AUDIO...", help="Folders of audio, files, or prepared folders (their held-out clips)."),
]
Model = Annotated[str | None, typer.Option(help="Name of an installed model or a folder.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder for report.json and what else is kept.")]
KeepAudio = Annotated[bool, typer.Option("--keep-audio", help="Keep what was measured too, in the folder of -o.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for what is generated.")]
Slots = Annotated[int, typer.Option(min=1, max=1024, help="Streams generated at a time.")]
Prompts = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, one of each recording, then more.")]
PromptSeconds = Annotated[float, typer.Option(help="Of each prompt.")]
Seconds = Annotated[float, typer.Option(min=1, max=600, help="To generate after each prompt.")]
Seed = Annotated[int, typer.Option(help="Of the first continuation; the next ones have the next seeds.")]
Temperature = Annotated[
    float | None, typer.Option(help=f"{RANGES['temperature'].help}; the model's own when left out.")
]
TopK = Annotated[int | None, typer.Option(help=f"{RANGES['top_k'].help}; the model's own when left out.")]
TopP = Annotated[float | None, typer.Option(help=f"{RANGES['top_p'].help}; the model's own when left out.")]

FULL_RATE, NO_PEERS = [6.0], list[str]()
Measurement = Callable[[Engine, list[CutPrompt], Recordings, float, SamplingParams, Keeper], dict[str, Any]]


@app.command("codec")
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


@app.command("speech")
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
        report = _continued(beginning, measure_speech, model, device, slots, found, recordings, seconds, wishes, keeper)
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


@app.command("piano")
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
        report = _continued(beginning, measure_piano, model, device, slots, found, recordings, seconds, wishes, keeper)
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


@app.command("drift")
def drift(
    context: typer.Context,
    prompt: Sources,
    model: Model = None,
    minutes: Annotated[float, typer.Option(max=60, help="Of each stream.")] = 10.0,
    prompts: Prompts = 4,
    prompt_seconds: PromptSeconds = 3.0,
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
    """Long streams: do level, spectrum and silence wander? With -o, a plot."""
    with told_in_one_line():
        check_minutes(minutes)
        if out is not None:
            need("matplotlib.figure", "The plot")
        recordings, keeper = find_recordings(prompt), Keeper(out, keep_audio)
        found = cut_prompts(recordings, prompts, prompt_seconds, 0.0, 0.0)

        def run(
            engine: Engine, cut: list[CutPrompt], _: Recordings, seconds: float, sampling: SamplingParams, keep: Keeper
        ) -> dict[str, Any]:
            return measure_drift(engine, cut, seconds / 60, sampling, keep)

        wishes = Wishes(seed, temperature, top_k, top_p)
        beginning = head(context, versions(("matplotlib",)))
        report = _continued(beginning, run, model, device, slots, found, recordings, minutes * 60, wishes, keeper)
        if out is not None:
            draw_drift(report, f"{report['model']}, {len(found)} streams of {minutes:g} minutes", out / PLOT)
    if as_json:
        typer.echo(json.dumps(report))
        return
    slopes = report["means"]["slopes"]
    rows = [(f"{m.name} ({m.unit})", m.bound, slopes[m.name]) for m in MEASURES]
    table(
        ["measure", "a minute", "±", "over the run", "bound", "verdict"],
        [[name, s["per_minute"], s["error"], s["change"], bound, s["verdict"]] for name, bound, s in rows],
    )
    table(["measure", "stream", "compared with"], fault_rows(report["means"]["figures"]))
    tell(report, out)


def _continued(
    beginning: dict[str, Any],
    measure: Measurement,
    model: str | None,
    device: str,
    slots: int,
    found: list[CutPrompt],
    recordings: Recordings,
    seconds: float,
    wishes: Wishes,
    keeper: Keeper,
) -> dict[str, Any]:
    """Load the engine, measure, and keep the report: ``beginning``, what the samples depend on, what was measured."""
    check_finite(temperature=wishes.temperature, top_p=wishes.top_p)
    try:
        check_wishes(wishes)
    except ApiError as error:
        raise ValueError(error.message) from None
    engine = Engine.load(model or default_model(), device, slots)
    if engine.path.slow_because:
        typer.echo(f"Slower than it could be: {engine.path.slow_because}.", err=True)
    sampling = sampling_for(wishes, engine.info())
    result = measure(engine, found, recordings, seconds, sampling, keeper)
    drawn = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    report = beginning | {"model": engine.model.id, "fingerprint": engine.fingerprint, "sampling": drawn} | result
    keeper.report(report)
    return report


def _peer(told: str) -> RoundTrip:
    name, _, rate = told.partition(":")
    try:
        kbps = float(rate)
    except ValueError:
        kbps = 0.0
    if name != "opus" or not kbps:
        raise ValueError(f"--against takes opus:KBPS, such as opus:6, not {told!r}.")
    return OpusRoundTrip(kbps)
