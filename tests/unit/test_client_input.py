"""Whatever a client sends is read or refused with a sentence.

To try until interrupted: ``pytest THIS_FILE -k form --hypothesis-profile=long --timeout=0 -o faulthandler_timeout=0``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection, Request

from tests.support.memory_wire import MemoryWire
from whispergpt.server.access.caller import Caller
from whispergpt.server.access.guard import Guard
from whispergpt.server.admission.admission import Admission, UploadMeter
from whispergpt.server.errors import ApiError
from whispergpt.server.http.play_addresses import PlayAddresses
from whispergpt.server.http.upload import ContinueForm, read_form
from whispergpt.server.parameters import number, truth, whole_number
from whispergpt.server.session.events import parse_event
from whispergpt.server.settings import Settings
from whispergpt.server.tokens.resume_tokens import ResumeTokens
from whispergpt.server.tokens.seal import Seal
from whispergpt.server.tokens.socket_tokens import SocketTokens

MOST_TOLD = 1_000
"""Characters of an error's sentence, however long what it is about was."""


def read_or_refused(work: Callable[[], Any]) -> Any:
    """What ``work`` returns; None where it refuses, for a reason that can be sent."""
    try:
        return work()
    except ApiError as error:
        check_refusal(error)
        return None


def check_refusal(error: ApiError) -> None:
    assert 400 <= error.status < 500
    assert error.message.endswith(".") and len(error.message) <= MOST_TOLD
    assert json.loads(error.response().body)["error"]["message"] == error.body()["message"]


# HTTP

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
BODIES = st.lists(st.sampled_from([HIDDEN, b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"\0", b"words"]), max_size=6).map(
    b"".join
)
UPGRADES = st.sampled_from(
    [
        b"",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"Upgrade: foo\r\nConnection: x\r\nConnection: upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        b"Upgrade: foo\r\n",
    ]
)
CUTS = st.lists(st.integers(1, 60), max_size=30)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """A request's method, body and bytes; its path is left to be filled in."""
    method = draw(st.sampled_from(["GET", "POST", "PUT"]))
    body = draw(BODIES)
    if draw(st.booleans()):
        sizes = draw(st.lists(st.integers(1, 20), max_size=5))
        parts, at = [], 0
        for size in [*sizes, len(body)]:
            parts.append(body[at : at + size])
            at += size
        framing = b"Transfer-Encoding: chunked\r\n"
        sent = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
        sent += b"0\r\n" + draw(st.sampled_from([b"", b"Host: b\r\n", b"X: y\r\nZ:\r\n"])) + b"\r\n"
    else:
        framing, sent = b"Content-Length: %d\r\n" % len(body), body
    head = method.encode() + b" /%d HTTP/1.1\r\nHost: a\r\n" + framing.replace(b"%", b"%%")
    return method, body, (head + draw(UPGRADES) + b"\r\n", sent)  # type: ignore[return-value]


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


@given(st.lists(requests(), min_size=1, max_size=4), CUTS)
def test_each_request_is_given_to_the_app_as_it_was_sent(asked: list[Any], sizes: list[int]) -> None:
    async def run() -> None:
        wire = MemoryWire()
        sent = b"".join(head % i + body for i, (_, _, (head, body)) in enumerate(asked))
        for piece in cut(sent, sizes):
            await wire.feed(piece)
        answers = await wire.end()
        expected = [(method, f"/{i}", body) for i, (method, body, _) in enumerate(asked)]
        assert wire.requests == expected
        assert [answer.body for answer in answers] == [path.encode() for _, path, _ in expected]

    asyncio.run(run())


TOKENS = st.sampled_from(
    [
        *(b"GET", b"POST", b"CONNECT", b" ", b"/", b"*", b"http://a", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r"),
        *(b"Host: a\r\n", b"Host:", b"Content-Length: 5\r\n", b"Content-Length:", b"Transfer-Encoding: chunked\r\n"),
        *(b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Connection: close\r\n"),
        *(
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"\r\n\r\n",
            b"5\r\nhello\r\n",
            b"0\r\n\r\n",
            b"a" * 70_000,
            b"x: y\r\n" * 130,
        ),
    ]
)


@given(st.lists(st.one_of(TOKENS, st.binary(max_size=20)), max_size=30).map(b"".join), CUTS)
def test_bytes_that_need_be_no_request(data: bytes, sizes: list[int]) -> None:
    async def run() -> None:
        wire = MemoryWire()
        for piece in cut(data, sizes):
            await wire.feed(piece)
        for answer in await wire.end():
            assert answer.status == 200 or json.loads(answer.body)["error"]["message"].endswith(".")

    asyncio.run(run())


# The form

SETTINGS = Settings(host="127.0.0.1")
NAMES = st.sampled_from(["audio", "seconds", "seed", "top_k", "top_p", "temperature", "model", "stream", "tempo", ""])
VALUES = st.one_of(
    st.sampled_from([b"", b"1", b"0.5", b"nan", b"1e400", b"true", b" ", b"-", b"9" * 4000, b"a" * 5000, b"\xff\xfe"]),
    st.binary(max_size=30),
)
DISPOSITIONS = st.one_of(
    st.builds('form-data; name="{}"'.format, NAMES),
    st.builds('form-data; name="{}"; filename="a"'.format, NAMES),
    st.builds("form-data; name={}; filename*=UTF-8''a".format, NAMES),
    st.text(max_size=40),
    st.sampled_from(["", "form-data", "form-data; name", 'form-data; name="', ";" * 3_000]),
)


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    body = b""
    for _ in range(draw(st.integers(0, 5))):
        body += b"--b\r\nContent-Disposition: " + draw(DISPOSITIONS).encode("utf-8", "replace") + b"\r\n"
        body += draw(
            st.sampled_from([b"", b"Content-Type: a/b\r\n", b"X: " + b"y" * 5_000 + b"\r\n", b"no header\r\n"])
        )
        body += b"\r\n" + draw(VALUES) + b"\r\n"
    return body + draw(st.sampled_from([b"--b--\r\n", b"--b--", b"", b"--b", b"--b\r\n"]))


CONTENT_TYPES = st.one_of(
    st.just("multipart/form-data; boundary=b"),
    st.just("multipart/form-data; boundary=b; charset=utf-8"),
    st.text(st.characters(max_codepoint=255), max_size=60).map("multipart/form-data;".__add__),
    st.sampled_from(["", "a/b", "multipart/form-data; boundary=", "multipart/form-data; boundary=b; charset=none"]),
)


@given(forms(), CONTENT_TYPES, CUTS)
def test_a_form_is_read_or_refused(body: bytes, content_type: str, sizes: list[int]) -> None:
    async def run() -> None:
        pieces = cut(body, sizes) or [b""]

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        headers = [(b"content-type", content_type.encode("latin-1"))]
        scope = {"type": "http", "method": "POST", "path": "/continue", "query_string": b"", "headers": headers}
        admission = Admission(SETTINGS)
        meter = UploadMeter(admission, SETTINGS, Caller())
        try:
            form, audio = await read_form(Request(scope, receive), meter, SETTINGS)
        except ApiError as error:
            check_refusal(error)
        else:
            assert isinstance(form, ContinueForm) and form.frames > 0 and not audio.closed
        meter.release()
        assert admission.upload_bytes == 0

    asyncio.run(run())


@given(st.one_of(st.text(max_size=30), st.from_regex(r"[+-]?[0-9.]{0,8}([eE][+-]?[0-9]{0,6})?")))
def test_a_field_is_read_or_refused(text: str) -> None:
    for read in (number, whole_number, truth):
        read_or_refused(lambda read=read: read(text, "field"))  # type: ignore[misc]


# Events of the WebSocket

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("x" * 5_000)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)),
    max_leaves=12,
)
KINDS = st.sampled_from(
    ["session.update", "response.create", "response.fork", "playback.report", "input_audio_buffer.commit", "no.such"]
)
FIELDS = st.sampled_from(
    [
        "session",
        "response",
        "seconds",
        "seed",
        "model",
        "input",
        "output",
        "format",
        "pace",
        "event_id",
        "played_frames",
    ]
)
EVENTS = st.builds(
    lambda kind, fields: json.dumps({"type": kind, **fields}),
    st.one_of(KINDS, JSON),
    st.dictionaries(
        st.one_of(FIELDS, st.text(max_size=9), st.just("a" * 5_000)),
        st.one_of(
            JSON, st.dictionaries(FIELDS, st.one_of(JSON, st.dictionaries(FIELDS, JSON, max_size=2)), max_size=3)
        ),
        max_size=3,
    ),
)


@given(st.one_of(EVENTS, st.text(max_size=200), JSON.map(json.dumps)))
@example('{"type": ' + "[" * 900 + "]" * 900 + "}")
@example('{"type": ' + "9" * 5_000 + "}")
@example('{"type": "response.create", "response": {"seconds": 1e999}}')
@example('{"type": "session.update", "session": {"seed": ' + "9" * 30 + "}}")
@example('{"type": "session.update", "session": {"model": "\\ud800"}}')
@example('{"type": "\\ud800"}')
def test_an_event_is_read_or_refused(text: str) -> None:
    event = read_or_refused(lambda: parse_event(text))
    assert event is None or isinstance(event, msgspec.Struct)


# Tokens, and who calls

TEXTS = st.one_of(
    st.text(max_size=60), st.binary(max_size=90).map(Seal("a key", "other").close), st.text("AZaz09-_=", max_size=90)
)


@given(TEXTS)
def test_a_token_is_known_or_refused(text: str) -> None:
    assert SocketTokens(60.0, "a key").use(text, ["owner"]) is None
    assert read_or_refused(lambda: ResumeTokens("a key").open(text)) is None
    assert read_or_refused(lambda: asyncio.run(PlayAddresses(60.0, 4).look(text))) is None


GUARDS = (Guard(SETTINGS), Guard(Settings(host="0.0.0.0")))
HEADER = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["http://", "https://", "", "//"]),
        st.text("[]:.@%a1/", max_size=12),
        st.just(""),
    ),
)


@given(st.dictionaries(st.sampled_from(["origin", "host", "authorization"]), HEADER), st.binary(max_size=30))
def test_a_caller_is_known_or_refused(headers: dict[str, str], query: bytes) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for kind in ("http", "websocket"):
        scope = {"type": kind, "headers": raw, "query_string": query, "path": "/"}
        for guard in GUARDS:
            found = read_or_refused(lambda guard=guard, scope=scope: guard.caller_of(HTTPConnection(scope)))  # type: ignore[misc]
            assert found is None or isinstance(found, Caller)
