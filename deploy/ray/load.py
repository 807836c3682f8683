"""What one replica plays and has room for, as it tells Ray's autoscaler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from whispergpt.deploy.ray.policy import PLAYING, SLACK

if TYPE_CHECKING:
    from whispergpt.server.link.engine_link import EngineLink


def load_of(link: EngineLink) -> Mapping[str, float]:
    """Real-time streams that play, wait or have a place kept, and how many more the replica bears.

    The latter is the least ``whispergpt_streams_slack`` of its models: each model's limit allows for what the others
    play, so that is the room for one more stream of whichever model has least. Below 0 some wait.
    """
    playing = len(link.live(pace="realtime")) + link.places.kept(pace="realtime")
    return {PLAYING: float(playing), SLACK: float(min(link.slack(model) for model in link.models))}
