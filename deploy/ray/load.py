"""Metrics of a replica for Ray's autoscaler: playing streams and room left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whispergpt.deploy.ray.policy import PLAYING, SLACK

if TYPE_CHECKING:
    from whispergpt.server.link.engine_link import EngineLink


def load_of(links: Sequence[EngineLink]) -> Mapping[str, float]:
    """Return the real-time streams that play, wait or have a reservation, and how many more fit.

    Both are sums over the replica's engines that are ready. The latter is that of the model with the least: each
    model's limit already accounts for the streams of the others. A value below 0 means that some streams wait.

    Args:
        links: to these engines, at least one.
    """
    playing = sum(len(link.live(pace="realtime")) + link.places.kept(pace="realtime") for link in links)
    slack = (sum(link.slack(model) for link in links if model in link.models) for model in links[0].models)
    return {PLAYING: float(playing), SLACK: float(min(slack))}
