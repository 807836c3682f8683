"""OpenAI's Realtime API, by its own client for Python."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from whispergpt_client import Client

from tests.support.audio import SAMPLE_RATE, pcm_of, speech, wav_of_pcm
from tests.support.faults import check_error
from tests.support.realtime import append, expect, receive, response
from whispergpt.engine.config import HOP

ONE, OTHER = pcm_of(speech(1.0)), pcm_of(speech(2.0))[SAMPLE_RATE * 2 :]
COMMITTED = ("input_audio_buffer.committed", "conversation.item.added", "conversation.item.done")


@pytest.fixture
async def connection(server: str) -> AsyncIterator[AsyncRealtimeConnection]:
    client = AsyncOpenAI(base_url=f"{server}/v1", api_key="any")
    async with client.realtime.connect(model="speech") as connection:
        await expect(connection, "session.created")
        yield connection


async def test_each_commit_is_another_prompt(connection: AsyncRealtimeConnection, client: Client) -> None:
    """A client of this API never clears what it committed; its samples are those of ``POST /continue``."""
    sound = {"format": {"type": "audio/pcm", "rate": SAMPLE_RATE}}
    session = {"type": "realtime", "audio": {"input": {**sound, "turn_detection": None}, "output": sound}, "seed": 3}
    await connection.session.update(session=session)
    assert (await expect(connection, "session.updated")).session.seed == 3
    before = None
    for pcm, fields, seed in ((ONE, {}, 3), (OTHER, {"seed": 4, "temperature": 0.5}, 4), (OTHER, {}, 3)):
        if before is None or pcm is not before:
            await append(connection, pcm)
            await connection.input_audio_buffer.commit()
            item = (await expect(connection, *COMMITTED)).item
            assert item.role == "user"
        before = pcm
        await connection.response.create(response={"seconds": 0.4, **fields})
        heard, done = await response(connection)
        same = client.continue_file(wav_of_pcm(pcm), seconds=0.4, response_format="pcm", **{"seed": 3, **fields})
        assert heard == same.audio
        assert (done.status, done.seed, done.usage.input_tokens, done.usage.output_tokens) == (
            "completed",
            seed,
            75,
            30,
        )
        assert done.output[0].content[0].type == "output_audio"


async def test_how_long_a_response_is(connection: AsyncRealtimeConnection) -> None:
    await connection.session.update(session={"type": "realtime", "pace": "fast", "seed": 1})
    await append(connection, ONE, len(ONE))
    await connection.input_audio_buffer.commit()
    await expect(connection, "session.updated", *COMMITTED)
    await connection.response.create()
    heard, done = await response(connection)
    assert len(heard) == 5 * 2 * SAMPLE_RATE and done.status == "completed", "as POST /continue"
    await connection.response.create(response={"max_output_tokens": 7, "metadata": {"a": "b"}})
    heard, done = await response(connection)
    assert len(heard) == 7 * 2 * HOP and done.metadata == {"a": "b"}
    assert (done.status, done.status_details.reason) == ("incomplete", "max_output_tokens")
    await connection.session.update(session={"type": "realtime", "max_output_tokens": "inf", "pace": "realtime"})
    assert (await expect(connection, "session.updated")).session.max_output_tokens == "inf"
    began, seconds = time.monotonic(), 0.0
    await connection.response.create()
    created = await expect(connection, "response.created")
    listened = time.monotonic()
    while time.monotonic() - listened < 0.5:
        if (event := await receive(connection)).type == "response.output_audio.delta":
            seconds += len(base64.b64decode(event.delta)) / 2 / SAMPLE_RATE
            assert seconds <= 2.1 + time.monotonic() - began, "deltas are paced"
    await connection.response.cancel(response_id="resp_other")
    await connection.response.cancel(response_id=created.response.id)
    kinds = []
    while (event := await receive(connection)).type != "response.done":
        kinds.append(event.type)
        if event.type == "error":
            check_error(event.error.to_dict(), "leave response_id out")
    assert "error" in kinds and event.response.status_details.reason == "client_cancelled"


async def test_what_is_wrong_is_told_in_the_apis_form(connection: AsyncRealtimeConnection) -> None:
    await connection.session.update(session={"type": "realtime", "instructions": "Be kind."}, event_id="mine")
    error = (await expect(connection, "error")).error
    check_error(error.to_dict(), "leave them out")
    assert (error.type, error.code) == ("invalid_request_error", "unsupported")
    assert (error.param, error.event_id) == ("session.instructions", "mine")
    await connection.input_audio_buffer.append(audio="no base64", event_id="next")
    error = (await expect(connection, "error")).error
    check_error(error.to_dict(), "audio must be base64")
    assert error.event_id == "next"
    await connection.send_raw(b"\0\0")
    check_error((await expect(connection, "error")).error.to_dict(), "base64", "/stream takes binary messages")
    await connection.input_audio_buffer.commit()
    check_error((await expect(connection, "error")).error.to_dict(), "send the prompt first")
    await append(connection, ONE)
    await connection.input_audio_buffer.clear()
    await expect(connection, "input_audio_buffer.cleared")
    await connection.input_audio_buffer.append(audio=base64.b64encode(bytes(61 * 2 * SAMPLE_RATE)).decode())
    check_error((await expect(connection, "error")).error.to_dict(), "longer than 60 s")
    with pytest.raises(ConnectionClosed) as closed:
        await connection.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


async def test_a_long_message_that_is_refused_closes(connection: AsyncRealtimeConnection) -> None:
    await connection.input_audio_buffer.append(audio="*" * 300_000)
    check_error((await expect(connection, "error")).error.to_dict(), "audio must be base64")
    with pytest.raises(ConnectionClosed, match="1008"):
        await connection.recv()


@pytest.mark.parametrize(
    ("query", "headers", "words"),
    [
        ("?model=gpt-realtime", {}, ("no model 'gpt-realtime'", "speech")),
        ("?intent=transcription", {}, ("leave intent out",)),
        ("?modle=piano", {}, ("no parameter 'modle'; there is model, token",)),
        ("?model=speech", {"OpenAI-Beta": "realtime=v1"}, ("leave the header OpenAI-Beta out",)),
    ],
)
def test_a_handshake_for_something_else(server: str, query: str, headers: dict[str, str], words: tuple[str]) -> None:
    address = f"{server.replace('http', 'ws', 1)}/v1/realtime{query}"
    with connect(address, subprotocols=["realtime"], additional_headers=headers, open_timeout=30) as socket:
        assert socket.subprotocol == "realtime"
        check_error(json.loads(socket.recv(30))["error"], *words)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(30)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
