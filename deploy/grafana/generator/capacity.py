"""Dashboard of capacity and admission: playing, waiting and refused streams, and the room left."""

from __future__ import annotations

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Query
from whispergpt.deploy.grafana.generator.queries import MODEL, quantile, rate, spread, total

_KNOWN = f'{MODEL}, outcome="hit"'

CAPACITY = Dashboard(
    uid="whispergpt-capacity",
    name="capacity",
    title="WHISPER-GPT: capacity and admission",
    numbers=(
        Panel(
            "Slack",
            "Real-time streams that still fit, for the model with the least room; negative if some wait.",
            (Query(f"min(whispergpt_streams_slack{{{MODEL}}})", "slack"),),
        ),
        Panel("Waiting", "Streams that wait for a slot.", (Query(total("streams_waiting"), "waiting"),)),
        Panel(
            "Refused for want of room, 1 h",
            "Requests that got 429 because the server was full.",
            (Query('sum(increase(whispergpt_rejected_total{reason="no_capacity"}[1h]))', "refused"),),
        ),
        Panel(
            "Wait for a slot, p99 of 5 min",
            "Waiting time of the streams that got a slot.",
            (Query(quantile(0.99, "request_queue_seconds", over="5m"), "p99"),),
            "s",
        ),
    ),
    courses=(
        Panel(
            "Streams",
            "The limit is the measured number of real-time streams that the machine can play, the largest of models.",
            (
                Query(total("streams_active"), "playing"),
                Query(total("streams_waiting"), "waiting"),
                Query(f"max(whispergpt_streams_limit{{{MODEL}}})", "real-time limit"),
                Query(f"max(whispergpt_slots_total{{{MODEL}}})", "slots"),
            ),
        ),
        Panel(
            "Slack",
            "Real-time streams that still fit. Models share the machine: a stream of one takes room from all.",
            (Query(f"sum by (model) (whispergpt_streams_slack{{{MODEL}}})", "{{model}}"),),
        ),
        Panel(
            "Refused, a minute",
            "By error code: no_capacity if the server is full, key_… over a key's limit, others if invalid.",
            (Query(f"60 * {rate('rejected_total', '', 'reason')}", "{{reason}}"),),
        ),
        Panel("Wait for a slot", "Waiting time of the streams that got a slot.", spread("request_queue_seconds"), "s"),
        Panel(
            "Prompts under way",
            "Prompts that are being received and encoded.",
            (Query(f"sum by (model) (whispergpt_prompts_encoding{{{MODEL}}})", "{{model}}"),),
        ),
        Panel(
            "Encoding a prompt", "Time to encode a prompt that was not cached.", spread("prompt_encode_seconds"), "s"
        ),
        Panel(
            "Prompts remembered",
            "Share of prompts that were found in the cache.",
            (
                Query(
                    f"{rate('prompt_cache_total', _KNOWN)} / {rate('prompt_cache_total')}",
                    "hits",
                ),
            ),
            "percentunit",
        ),
        Panel(
            "Connections",
            "Open WebSocket sessions, and HTTP requests being answered.",
            (
                Query("sum(whispergpt_sessions_open)", "sessions"),
                Query("sum(whispergpt_requests_open)", "requests"),
            ),
        ),
    ),
)
