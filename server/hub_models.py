"""Models of the Hugging Face Hub among those to be served."""

from __future__ import annotations

from whispergpt.engine.checkpoints.hub import fetch_model, is_hub_name
from whispergpt.server.observe import logs
from whispergpt.server.settings import Settings

log = logs.get("server.models")


def with_hub_models(settings: Settings) -> Settings:
    """Return the settings with each model of the hub fetched and named by its commit, so that engines serve that one.

    An engine that is restarted then needs no network, and loads what the one before had.

    Raises:
        HubError: a model cannot be had, or is damaged.
        MissingPackageError: ``huggingface_hub`` is not installed.
    """
    names = []
    for name in settings.model:
        if is_hub_name(name):
            model = fetch_model(name)
            log.info("model of the hub", model=model.id, revision=model.commit)
            name = model.pinned
        names.append(name)
    return settings.model_copy(update={"model": names})
