"""Capacity and admission: who plays, who waits, who was refused, and what could still be taken."""

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
            "Real-time streams that could be taken now; negative where some wait. Of the model that has least.",
            (Query(f"min(whispergpt_streams_slack{{{MODEL}}})", "slack"),),
        ),
        Panel("Waiting", "Streams that wait for a slot.", (Query(total("streams_waiting"), "waiting"),)),
        Panel(
            "Refused for want of room, 1 h",
            "Requests that were told to come again.",
            (Query('sum(increase(whispergpt_rejected_total{reason="no_capacity"}[1h]))', "refused"),),
        ),
        Panel(
            "Wait for a slot, p99 of 5 min",
            "Of those who got one.",
            (Query(quantile(0.99, "request_queue_seconds", over="5m"), "p99"),),
            "s",
        ),
    ),
    courses=(
        Panel(
            "Streams",
            "The limit is what the machine bears in real time, as last measured; of several models, the greatest.",
            (
                Query(total("streams_active"), "playing"),
                Query(total("streams_waiting"), "waiting"),
                Query(f"max(whispergpt_streams_limit{{{MODEL}}})", "real-time limit"),
                Query(f"max(whispergpt_slots_total{{{MODEL}}})", "slots"),
            ),
        ),
        Panel(
            "Slack",
            "Real-time streams that could be taken now. Models share the machine: a stream of one is less for all.",
            (Query(f"sum by (model) (whispergpt_streams_slack{{{MODEL}}})", "{{model}}"),),
        ),
        Panel(
            "Refused, a minute",
            "By the error's code: no_capacity for want of room, key_… for want of allowance, the rest wrong requests.",
            (Query(f"60 * {rate('rejected_total', '', 'reason')}", "{{reason}}"),),
        ),
        Panel("Wait for a slot", "Of those who got one.", spread("request_queue_seconds"), "s"),
        Panel(
            "Prompts under way",
            "Prompts that are being received and encoded.",
            (Query(f"sum by (model) (whispergpt_prompts_encoding{{{MODEL}}})", "{{model}}"),),
        ),
        Panel("Encoding a prompt", "That was not remembered.", spread("prompt_encode_seconds"), "s"),
        Panel(
            "Prompts remembered",
            "Share of prompts whose encoding was in the cache.",
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
            "WebSocket sessions, and continuations over HTTP that are being served.",
            (
                Query("sum(whispergpt_sessions_open)", "sessions"),
                Query("sum(whispergpt_requests_open)", "requests"),
            ),
        ),
    ),
)
