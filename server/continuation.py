"""``POST /continue``: a recording in, its continuation out, whole or as it is generated."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from fastapi import APIRouter, Request, Response

from server.accounting import Account
from server.admission import UploadMeter
from server.continuation_answer import StreamedAnswer, answered, begin, whole_answer
from server.continuation_schema import CONTINUE_DOCS
from server.departure import or_gone
from server.entry import Who
from server.services import Services
from server.upload import read_form

router = APIRouter()
ROUTE = "/continue"


@router.post(ROUTE, summary="Continue a recording", response_class=Response, **CONTINUE_DOCS)
async def continue_recording(request: Request, caller: Who) -> Response:
    """Reads the form, decodes and encodes the prompt, waits for a slot, generates."""

    async def work(services: Services, cleanup: AsyncExitStack, account: Account) -> Response:
        cleanup.enter_context(caller.connection())
        meter = UploadMeter(services.admission, services.settings, caller)
        cleanup.callback(meter.release)
        form = await read_form(request, meter, services.settings)
        received = time.perf_counter()
        begun = await or_gone(request.receive, begin(services, ROUTE, caller, form, received, cleanup, meter))
        if form.stream:
            return StreamedAnswer(services, begun, account)
        return await or_gone(request.receive, whole_answer(services, begun, account))

    return await answered(request, ROUTE, work)
