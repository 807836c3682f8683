"""Dashboard of the frame step: its time, its stages and its streams."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Query
from whispergpt.deploy.grafana.generator.queries import quantile, rate, spread
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.streams.capacity import MOST_LOAD

STEP = Dashboard(
    uid="whispergpt-step",
    name="step",
    title="WHISPER-GPT: the step by stage",
    numbers=(
        Panel(
            "Time in steps",
            "Share of the time spent in steps. Admission keeps the room above the line free.",
            (Query(rate("frame_step_seconds_sum"), "in steps"),),
            "percentunit",
            MOST_LOAD,
        ),
        Panel("Frames a second", f"{FRAME_RATE} for each real-time stream.", (Query(rate("frames_total"), "frames"),)),
        Panel(
            "Step, p99 of 5 min",
            "Time of one frame step of all slots; a frame plays for 13.3 ms.",
            (Query(quantile(0.99, "frame_step_seconds", over="5m"), "p99"),),
            "s",
            1 / FRAME_RATE,
        ),
    ),
    courses=(
        Panel(
            "Frame step",
            "Time of one frame step of all slots. Above 13.3 ms the engine is slower than playback.",
            spread("frame_step_seconds"),
            "s",
            1 / FRAME_RATE,
        ),
        Panel(
            "Stages of a step",
            "Mean time of each stage, measured in occasional steps.",
            (
                Query(
                    f"{rate('stage_seconds_sum', by='stage')} / {rate('stage_seconds_count', by='stage')}", "{{stage}}"
                ),
            ),
            "s",
        ),
        Panel(
            "Time in steps",
            "Share of the time spent in steps, by model. Above the line new real-time streams wait.",
            (Query(rate("frame_step_seconds_sum", by="model"), "{{model}}"),),
            "percentunit",
            MOST_LOAD,
        ),
        Panel("Streams in a step", "Streams stepped together.", spread("batch_size")),
        Panel(
            "Between a stream's frames",
            "Time between frames at the server. Streams with a lead wait for others; only long gaps are heard.",
            spread("inter_frame_seconds"),
            "s",
        ),
        Panel(
            "Frames made",
            "Frames per second, by model.",
            (Query(rate("frames_total", by="model"), "{{model}}"),),
        ),
    ),
)
