"""``POST /continue``: takes a recording, answers with its continuation, whole or streamed."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from fastapi import APIRouter, Request, Response

from whispergpt.server.admission.accounting import Account
from whispergpt.server.admission.admission import UploadMeter
from whispergpt.server.edge.departure import or_gone
from whispergpt.server.http.continuation_answer import StreamedAnswer, answered, begin, whole_answer
from whispergpt.server.http.continuation_schema import CONTINUE_DOCS
from whispergpt.server.http.entry import RequestCaller
from whispergpt.server.http.upload import read_form
from whispergpt.server.services import Services

router = APIRouter(tags=["continuations"])
ROUTE = "/continue"


@router.post(ROUTE, summary="Continue a recording", response_class=Response, **CONTINUE_DOCS)
async def continue_recording(request: Request, caller: RequestCaller) -> Response:
    """Read the form, decode and encode the prompt, wait for a slot, and generate."""

    async def work(services: Services, cleanup: AsyncExitStack, account: Account) -> Response:
        cleanup.enter_context(caller.connection())
        meter = UploadMeter(services.admission, services.settings, caller)
        cleanup.callback(meter.release)
        form, audio = await read_form(request, meter, services.settings)
        received = time.perf_counter()
        begun = await or_gone(request.receive, begin(services, ROUTE, caller, form, audio, received, cleanup, meter))
        if form.stream:
            return StreamedAnswer(services, begun, account)
        return await or_gone(request.receive, whole_answer(services, begun, account))

    return await answered(request, ROUTE, work)
