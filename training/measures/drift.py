"""``measure drift``: change of level, spectrum and silence of long streams over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.measures.continuations import Job, continuation_faults, continue_prompts
from whispergpt.training.measures.faults import with_shares
from whispergpt.training.measures.figures.log_mel import log_mel
from whispergpt.training.measures.figures.packages import need
from whispergpt.training.measures.figures.silence import frame_levels, recording_level, silent_share
from whispergpt.training.measures.report import means

WINDOW_SECONDS = 10.0
FIRST_WINDOWS = 6
"""Windows of the first minute, whose mean spectrum is the reference."""
LEAST_MINUTES = 2.0
SURE = 3.0
"""Standard errors from 0 beyond which a slope counts as more than chance."""

PLOT = "drift.png"
LABELS = {"level": "level (dBFS)", "spectrum": "log-mel distance\nto the first minute", "silence": "share of silence"}

Values = npt.NDArray[np.float64]
Verdict = Literal["steady", "drifts", "unclear"]


@dataclass(frozen=True)
class Measure:
    """Measure over time: its unit, and the largest change over the whole run that is not called a drift."""

    name: str
    unit: str
    bound: float
    first: int
    """First window of the line: for distances to the first minute, the window after it."""


MEASURES = (
    Measure("level", "dB", 3.0, 0),
    Measure("spectrum", "log10", 0.1, FIRST_WINDOWS),
    Measure("silence", "share", 0.1, 0),
)


@dataclass(frozen=True)
class Slope:
    """A line fitted by least squares: change per minute, its standard error, change over the run, and the verdict."""

    per_minute: float
    error: float
    change: float
    verdict: Verdict


def courses(audio: Samples, level: float) -> dict[str, Values]:
    """Return level in dB, distance to the first minute's spectrum, and share of silence, for windows of ten seconds.

    Args:
        audio: samples ``[n]`` at 24 kHz.
        level: the prompt's ``recording_level``, relative to which silence is measured.
    """
    size = round(WINDOW_SECONDS * SAMPLE_RATE)
    windows = [audio[start : start + size] for start in range(0, len(audio) - size + 1, size)]
    powers = [np.mean(10 ** (frame_levels(window) / 10)) for window in windows]
    spectra = np.stack([log_mel(window).double().mean(0).numpy() for window in windows])
    return {
        "level": 10 * np.log10(np.array(powers)),
        "spectrum": np.abs(spectra - spectra[:FIRST_WINDOWS].mean(0)).mean(1),
        "silence": np.array([silent_share(window, level) for window in windows]),
    }


def fit_slope(values: Values, measure: Measure) -> Slope:
    """Fit a line through the windows ``[W]`` of a measure.

    ``drifts``: the change over the run is beyond the measure's bound, and the slope more than three standard errors
    from 0. ``unclear``: the change is beyond the bound, but may be chance. ``steady``: the change is within it.
    """
    minutes = np.arange(len(values) - measure.first) * WINDOW_SECONDS / 60
    (slope, _), covariance = np.polyfit(minutes, values[measure.first :], 1, cov=True)
    error, change = np.sqrt(covariance[0, 0]), slope * minutes[-1]
    verdict: Verdict = "steady"
    if abs(change) > measure.bound:
        verdict = "drifts" if abs(slope) > SURE * error else "unclear"
    return Slope(float(slope), float(error), float(change), verdict)


def check_minutes(minutes: float) -> None:
    """Raise ValueError where a run is too short for a line."""
    if not minutes >= LEAST_MINUTES:
        raise ValueError(f"--minutes must be at least {LEAST_MINUTES:g}, not {minutes:g}.")


def measure_drift(job: Job) -> dict[str, Any]:
    """Measure a stream from each prompt, with a verdict on the mean over the streams.

    Returns:
        ``files``: each stream's windows, slopes, and figures of the buzz and the high band over the whole stream;
        ``means``: the windows' means, their slopes and verdicts, and the figures' means.
    """
    entries: list[dict[str, Any]] = []
    for index, (prompt, stream) in enumerate(zip(job.prompts, continue_prompts(job), strict=True)):
        job.keeper.audio(f"{prompt.file} stream", stream.audio)
        found = courses(stream.audio, recording_level(prompt.audio))
        entry = {"file": prompt.file, "group": prompt.group, "seed": job.sampling.seed + index}
        entries.append(entry | _with_slopes(found) | {"figures": continuation_faults(prompt, stream)})
    together = {
        measure.name: np.mean([entry["windows"][measure.name] for entry in entries], axis=0) for measure in MEASURES
    }
    row = with_shares(means(entry["figures"] for entry in entries))
    return {"window_seconds": WINDOW_SECONDS, "files": entries, "means": _with_slopes(together) | {"figures": row}}


def _with_slopes(found: dict[str, Values]) -> dict[str, Any]:
    slopes = {measure.name: fit_slope(found[measure.name], measure) for measure in MEASURES}
    return {
        "windows": {name: values.tolist() for name, values in found.items()},
        "slopes": {name: vars(slope) for name, slope in slopes.items()},
    }


def draw_drift(result: dict[str, Any], title: str, path: Path) -> None:
    """Draw the result of ``measure_drift``: each stream, the mean, and its fitted line with the verdict.

    Raises:
        MissingError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "The plot").Figure(figsize=(9, 8), layout="constrained")
    rows = figure.subplots(len(MEASURES), 1, sharex=True)
    step = result["window_seconds"] / 60
    for axis, measure in zip(rows, MEASURES, strict=True):
        for entry in result["files"]:
            values = entry["windows"][measure.name]
            axis.plot((np.arange(len(values)) + 0.5) * step, values, color="0.75", linewidth=0.8)
        values = np.array(result["means"]["windows"][measure.name])
        minutes = (np.arange(len(values)) + 0.5) * step
        axis.plot(minutes, values, color="C0", linewidth=1.8, label=f"mean of {len(result['files'])} streams")
        slope = result["means"]["slopes"][measure.name]
        fitted = minutes[measure.first :]
        line = values[measure.first :].mean() + slope["per_minute"] * (fitted - fitted.mean())
        label = f"{slope['per_minute']:+.3g} ± {slope['error']:.2g} {measure.unit} a minute: {slope['verdict']}"
        axis.plot(fitted, line, color="C3", linestyle="--", label=label)
        if measure.first == FIRST_WINDOWS:
            axis.axvspan(0, FIRST_WINDOWS * step, color="0.94")
        axis.set_ylabel(LABELS[measure.name])
        axis.legend(loc="best", fontsize="small")
    rows[0].set_title(title)
    rows[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=120)
