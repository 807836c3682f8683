"""Metrics of a replica for Ray's autoscaler: playing streams and room left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from whispergpt.deploy.ray.policy import PLAYING, SLACK

if TYPE_CHECKING:
    from whispergpt.server.link.engine_link import EngineLink


def load_of(link: EngineLink) -> Mapping[str, float]:
    """Return the real-time streams that play, wait or have a reservation, and how many more fit.

    The latter is the least ``whispergpt_streams_slack`` of the replica's models. Each model's limit already accounts
    for the streams of the others. A value below 0 means that some streams wait.
    """
    playing = len(link.live(pace="realtime")) + link.places.kept(pace="realtime")
    return {PLAYING: float(playing), SLACK: float(min(link.slack(model) for model in link.models))}
