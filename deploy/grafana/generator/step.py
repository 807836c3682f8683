"""The frame step: how long it takes, of what, and for how many."""

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
            "Share of the time that the engine steps. Admission leaves room above the line.",
            (Query(rate("frame_step_seconds_sum"), "in steps"),),
            "percentunit",
            MOST_LOAD,
        ),
        Panel("Frames a second", f"{FRAME_RATE} for each real-time stream.", (Query(rate("frames_total"), "frames"),)),
        Panel(
            "Step, p99 of 5 min",
            "One frame step of all slots; a frame plays for 13.3 ms.",
            (Query(quantile(0.99, "frame_step_seconds", over="5m"), "p99"),),
            "s",
            1 / FRAME_RATE,
        ),
    ),
    courses=(
        Panel(
            "Frame step",
            "One frame step of all slots. Beyond 13.3 ms the engine is slower than playback.",
            spread("frame_step_seconds"),
            "s",
            1 / FRAME_RATE,
        ),
        Panel(
            "Stages of a step",
            "The mean of each stage, from the occasional step that is run in segments.",
            (
                Query(
                    f"{rate('stage_seconds_sum', by='stage')} / {rate('stage_seconds_count', by='stage')}", "{{stage}}"
                ),
            ),
            "s",
        ),
        Panel(
            "Time in steps",
            "Share of the time that the engine steps, by model. Above the line real-time streams have to wait.",
            (Query(rate("frame_step_seconds_sum", by="model"), "{{model}}"),),
            "percentunit",
            MOST_LOAD,
        ),
        Panel("Streams in a step", "Streams that were stepped together.", spread("batch_size")),
        Panel(
            "Between a stream's frames",
            "As they reach the server. Streams that are ahead wait for others, so that only a long gap is heard.",
            spread("inter_frame_seconds"),
            "s",
        ),
        Panel(
            "Frames made",
            "A second, by model.",
            (Query(rate("frames_total", by="model"), "{{model}}"),),
        ),
    ),
)
