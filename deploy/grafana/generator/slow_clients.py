"""Slow clients: who does not take audio, or does not send it, and what becomes of them."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Query
from whispergpt.deploy.grafana.generator.queries import GAPS, LEAST_LEAD, MODEL, rate, spread

_CANCELLED = 'outcome="cancelled"'
_LATE = 'reason=~"upload_timeout|idle_timeout|paused_too_long|slow_reader"'

SLOW_CLIENTS = Dashboard(
    uid="whispergpt-slow-clients",
    name="slow-clients",
    title="WHISPER-GPT: slow clients",
    numbers=(
        Panel(
            "Slow clients, 1 h",
            "Times that a client did not take its audio in time.",
            (Query("sum(increase(whispergpt_slow_client_total[1h]))", "slow"),),
        ),
        Panel(
            "Gaps that only listeners saw, 1 h",
            "Reported by players less those that the server saw: the network's, or the players' own.",
            (
                Query(
                    f"clamp_min(sum(increase(whispergpt_listener_underruns_total{{{MODEL}}}[1h]))"
                    f" - sum(increase(whispergpt_underruns_total{{{MODEL}}}[1h])), 0)",
                    "gaps",
                ),
            ),
        ),
        Panel(
            "Prompts being received",
            "Bytes of all together.",
            (Query("sum(whispergpt_upload_bytes)", "bytes"),),
            "bytes",
        ),
    ),
    courses=(
        Panel(
            "What became of them, a minute",
            "paused: the stream waited; dropped: it lost what was late; closed, cancelled: it was ended.",
            (Query(f"60 * {rate('slow_client_total', '', 'action')}", "{{action}}"),),
        ),
        Panel(
            "Gaps a minute",
            "Reports above what the server sees are the network's, or the players' own.",
            GAPS,
        ),
        Panel(
            "Ended for silence or slowness, a minute",
            "Uploads that took too long, sessions that said nothing, pauses without an end, readers that took nothing.",
            (Query(f"60 * {rate('rejected_total', _LATE, 'reason')}", "{{reason}}"),),
        ),
        Panel(
            "Left before the end",
            "Share of continuations that were cancelled, by the route that they came by.",
            (
                Query(
                    f"{rate('requests_total', _CANCELLED, 'route')} / {rate('requests_total', '', 'route')}",
                    "{{route}}",
                ),
            ),
            "percentunit",
        ),
        Panel("Length of a continuation", "From its request to its end.", spread("request_duration_seconds", ""), "s"),
        Panel(
            "Playback lead",
            "Of the real-time stream that has least: a slow reader has none.",
            (LEAST_LEAD,),
            "s",
        ),
    ),
)
