"""``GET /v1/models``: the models of this server."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.server.http.entry import RequestCaller
from whispergpt.server.http.refusals import refusals
from whispergpt.server.services import services_of

router = APIRouter()


class Model(BaseModel):
    """One model of the server."""

    id: str
    object: Literal["model"] = "model"
    parameters: int = Field(description="Number of weights.")
    sample_rate: int = Field(description="Samples per second.")
    frame_rate: int = Field(description="Frames per second.")
    defaults: dict[str, int | float] = Field(description="Sampling parameters of a request that names none.")
    licence: str = Field(description="Licence of the weights.")
    revision: str | None = Field(description="Commit of a model of the Hugging Face Hub, else null.")
    fingerprint: str = Field(description="A seed gives the same samples for one fingerprint.")
    fingerprints: list[str] = Field(description="Fingerprints of all engines, which differ between devices.")
    slots: int = Field(description="Streams that one engine plays at once.")


class ModelList(BaseModel):
    """Models of the server, the default first."""

    data: list[Model]


@router.get("/v1/models", summary="The models, the default first", tags=["models"], responses=refusals(401, 503))
async def models(request: Request, _caller: RequestCaller) -> ModelList:
    """List the models, each with its size, sampling defaults and licence.

    A seed gives the same samples for one fingerprint. Engines on different devices may have several, all of which are
    in `fingerprints`; every answer has that of its engine. `slots` are those of each engine. `revision` is the
    commit of a model of the Hugging Face Hub, else null.
    """
    engines = services_of(request.app).engines
    return ModelList(data=[_describe(model, engines.fingerprints(model.id)) for model in engines.models.values()])


def _describe(model: ModelInfo, fingerprints: list[str]) -> Model:
    return Model(
        id=model.id,
        parameters=model.parameters,
        sample_rate=model.sample_rate,
        frame_rate=model.frame_rate,
        defaults=model.defaults,
        licence=model.licence,
        revision=model.revision,
        fingerprint=model.fingerprint,
        fingerprints=fingerprints,
        slots=model.slots,
    )
