"""``measure codec``: output of a codec and its peers, compared with the original recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.training.data.recordings import Recording, Recordings
from whispergpt.training.measures.faults import fault_figures, with_shares
from whispergpt.training.measures.figures.listening import Kind, Pesq, Visqol
from whispergpt.training.measures.figures.log_mel import log_mel_distance
from whispergpt.training.measures.figures.signal_ratio import si_sdr_db, snr_db
from whispergpt.training.measures.figures.words import RECOGNIZER, Recognizer, word_errors
from whispergpt.training.measures.opus import OpusRoundTrip
from whispergpt.training.measures.report import Keeper, means
from whispergpt.training.measures.round_trip import CodecRoundTrip, in_16_bits

RoundTrip = CodecRoundTrip | OpusRoundTrip
LEAST_SECONDS = 1.0
"""Seconds of the shortest clip that PESQ and ViSQOL can score."""
ORIGINAL = "original"
"""Name of the row of the originals, which no codec has changed."""


class CodecMeasures:
    """Measures of one kind of sound, loaded once.

    Args:
        kind: ``speech`` has PESQ and ViSQOL at 16 kHz, ``music`` ViSQOL at 48 kHz.
        recognizer: adds word errors; for speech alone.

    Raises:
        MissingError: a package is not installed.
    """

    def __init__(self, kind: Kind, recognizer: Recognizer | None) -> None:
        self._visqol = Visqol(kind)
        self._pesq = Pesq() if kind == "speech" else None
        self._recognizer = recognizer

    def file(
        self, recording: Recording, audio: Samples, whole: bool, trips: Sequence[RoundTrip], keeper: Keeper
    ) -> dict[str, Any]:
        """Return the entry of a recording ``[n]`` at 24 kHz; ``whole`` is False where its end is cut off."""
        entry: dict[str, Any] = {"file": recording.name, "group": recording.group, "seconds": len(audio) / SAMPLE_RATE}
        keeper.audio(f"{recording.name} {ORIGINAL}", audio)
        figures: dict[str, dict[str, float | None]] = {ORIGINAL: fault_figures(audio)}
        decoded = {}
        for trip in trips:
            back = trip(audio)
            keeper.audio(f"{recording.name} {trip.name}", back.samples)
            decoded[trip.name] = back.samples
            figures[trip.name] = {"payload_kbps": back.payload_kbps, **self._figures(audio, back.samples)}
        if self._recognizer is not None:
            heard = self._recognizer(audio)
            # The transcript covers the whole file.
            transcript = recording.text if whole else None
            entry["word_reference"] = "transcript" if transcript else f"{RECOGNIZER} on the original"
            reference = transcript or heard
            entry["text"] = {"reference": reference, ORIGINAL: heard}
            figures[ORIGINAL] |= _word_figures(reference, heard)
            for name, samples in decoded.items():
                entry["text"][name] = self._recognizer(samples)
                figures[name] |= _word_figures(reference, entry["text"][name])
        return entry | {"figures": figures}

    def _figures(self, audio: Samples, back: Samples) -> dict[str, float | None]:
        return {
            "log_mel": log_mel_distance(audio, back),
            "snr_db": snr_db(audio, back),
            "si_sdr_db": si_sdr_db(audio, back),
            **({"pesq": self._pesq(audio, back)} if self._pesq else {}),
            **self._visqol(audio, back),
            **fault_figures(back, audio),
        }


def measure_codec(
    recordings: Recordings,
    trips: Sequence[RoundTrip],
    measures: CodecMeasures,
    clip_seconds: float,
    most_files: int | None,
    keeper: Keeper,
) -> dict[str, Any]:
    """Measure up to ``most_files`` recordings, the first ``clip_seconds`` of each.

    Returns:
        ``files``, each with its figures by codec; ``means``, a row for the originals and one for each codec;
        ``skipped``.

    Raises:
        ValueError: no recording can be measured.
    """
    most = round(clip_seconds * SAMPLE_RATE) // HOP * HOP
    if most < LEAST_SECONDS * SAMPLE_RATE:
        raise ValueError(f"--clip-seconds must be at least {LEAST_SECONDS:g}, not {clip_seconds:g}.")
    entries = []
    for recording, samples in recordings.read(LEAST_SECONDS, "measure"):
        clip = in_16_bits(samples[: min(most, len(samples) // HOP * HOP)])
        if not clip.any():
            recordings.skip(recording, "It is silent.")
            continue
        entries.append(measures.file(recording, clip, len(samples) <= most + HOP, trips, keeper))
        if len(entries) == most_files:
            break
    if not entries:
        raise ValueError(
            "None of the recordings can be measured: " + "; ".join(e["why"] for e in recordings.skipped[:3])
        )
    names = dict.fromkeys(name for entry in entries for name in entry["figures"])
    rows = [{"codec": name, **_mean_row([entry["figures"][name] for entry in entries])} for name in names]
    return {"files": entries, "means": rows, "skipped": recordings.skipped}


def _word_figures(reference: str, heard: str) -> dict[str, float | None]:
    counted = word_errors(reference, heard)
    return {"word_errors": counted.errors, "words": counted.words}


def _mean_row(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Return means over files; the word error rate is over all files' words together."""
    row = with_shares(means(rows))
    if row.pop("words", None):
        errors, words = (sum(r[name] or 0 for r in rows) for name in ("word_errors", "words"))
        row["word_error_rate"] = errors / words
    row.pop("word_errors", None)
    return row
