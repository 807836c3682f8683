"""``GET /v1/models``: the models of this server."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from whispergpt.engine.messages import ModelInfo
from whispergpt.server.http.entry import RequestCaller
from whispergpt.server.services import services_of

router = APIRouter()


@router.get("/v1/models", summary="The models, the default first")
async def models(request: Request, _caller: RequestCaller) -> dict[str, list[dict[str, Any]]]:
    """List the models, each with its size, sampling defaults and licence.

    A seed gives the same samples for one fingerprint. Engines on different devices may have several, all of which are
    in `fingerprints`; every answer has that of its engine. `slots` are those of each engine. `revision` is the
    commit of a model of the Hugging Face Hub, else null.
    """
    engines = services_of(request.app).engines
    return {"data": [_describe(model, engines.fingerprints(model.id)) for model in engines.models.values()]}


def _describe(model: ModelInfo, fingerprints: list[str]) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "parameters": model.parameters,
        "sample_rate": model.sample_rate,
        "frame_rate": model.frame_rate,
        "defaults": model.defaults,
        "licence": model.licence,
        "revision": model.revision,
        "fingerprint": model.fingerprint,
        "fingerprints": fingerprints,
        "slots": model.slots,
    }
