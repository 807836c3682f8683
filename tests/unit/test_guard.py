"""Keys, what their holders may have, and the tokens of pages."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from starlette.requests import HTTPConnection

from whispergpt.cli.main import main
from whispergpt.server.access import caller as caller_module
from whispergpt.server.access.api_keys import KeyFileError, add_key, digest_of, read_keys
from whispergpt.server.access.caller import Caller
from whispergpt.server.access.guard import Guard, is_loopback
from whispergpt.server.errors import ApiError
from whispergpt.server.ledger import OwnLedger
from whispergpt.server.link.places import Places
from whispergpt.server.settings import Settings
from whispergpt.server.tokens import socket_tokens as token_module
from whispergpt.server.tokens.seal import Seal
from whispergpt.server.tokens.socket_tokens import SocketTokens


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    for module in (caller_module, token_module):
        monkeypatch.setattr(module, "time", clock)
    yield clock


def call(headers: dict[str, str] | None = None, query: str = "", kind: str = "http") -> HTTPConnection:
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return HTTPConnection({"type": kind, "headers": raw, "query_string": query.encode(), "path": "/"})


def with_key(key: str, **headers: str) -> HTTPConnection:
    return call({"Authorization": f"Bearer {key}", **headers})


def refusal_of(guard: Guard, connection: HTTPConnection) -> ApiError:
    with pytest.raises(ApiError) as refused:
        guard.caller_of(connection)
    return refused.value


def test_a_file_keeps_hashes_and_bounds(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    first, second = add_key(file, "studio", 2, 90.5), add_key(file, "guest", None, None)
    assert first != second and len(first) > 40
    text = file.read_text()
    assert first not in text and second not in text
    assert file.stat().st_mode & 0o777 == 0o600
    keys = read_keys(file)
    assert (keys[digest_of(first)].streams, keys[digest_of(first)].audio_seconds_a_minute) == (2, 90.5)
    assert keys[digest_of(second)].name == "guest" and keys[digest_of(second)].streams is None
    with pytest.raises(KeyFileError, match="named 'guest' already"):
        add_key(file, "guest", None, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[key]\n", "is not a file of keys"),
        ('[[key]]\nname = "a"\n', "sha256"),
        ('[[key]]\nname = "a b"\nsha256 = "' + "0" * 64 + '"\n', "no name for a key"),
        ('[[key]]\nname = "a"\nsha256 = "secret"\n', "64 hex digits"),
        ('[[key]]\nname = "a"\nsha256 = "' + "0" * 64 + '"\nstreams = 0\n', "at least 1"),
        ('[[key]]\nname = "a"\nsha256 = "' + "0" * 64 + '"\nstream = 2\n', "stream"),
        ('[[key]]\nname = "a"\nsha256 = "' + "0" * 64 + '"\naudio_seconds_a_minute = nan\n', "must be from 1"),
        (('[[key]]\nname = "a"\nsha256 = "' + "0" * 64 + '"\n') * 2, "twice"),
    ],
)
def test_a_file_that_is_none_says_why(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(KeyFileError, match=told) as refused:
        read_keys(file)
    assert str(file) in str(refused.value) and "\n" not in str(refused.value)


def test_streams_at_once_are_bounded_and_given_back() -> None:
    caller = Caller("studio", streams=2)
    first, _ = caller.enter(75), caller.enter(None)
    with pytest.raises(ApiError, match=r"'studio' may have 2 streams at once") as refused:
        caller.enter(75)
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (429, "key_streams", 1)
    first.close(10)
    first.close(10)
    caller.enter(75)
    with pytest.raises(ApiError):
        caller.enter(75)


def test_audio_is_counted_ahead_and_given_back(clock: Clock) -> None:
    caller = Caller("studio", audio_seconds_a_minute=60)
    visit = caller.enter(75 * 90)  # more than there is: 30 s are owed
    with pytest.raises(ApiError, match="60 seconds of audio a minute; try again in 30 s") as refused:
        caller.enter(75)
    assert (refused.value.code, refused.value.retry_after) == ("key_audio", 30)
    visit.close(75 * 50)  # 40 s were never made
    caller.enter(75 * 10).close(75 * 10)
    with pytest.raises(ApiError):
        caller.enter(75)
    clock.now += 30
    caller.enter(75 * 30).close(75 * 30)
    clock.now += 3600
    caller.enter(75 * 60).close(75 * 60)
    with pytest.raises(ApiError):  # an hour saved up no more than a minute's worth
        caller.enter(75)


def test_a_stream_without_an_end_pays_as_it_goes(clock: Clock) -> None:
    caller = Caller("studio", audio_seconds_a_minute=60)
    visit = caller.enter(None)
    with pytest.raises(ApiError, match="used up"):
        for frame in range(75 * 75):  # all at once, as pace "fast" may
            visit.go_on(frame)
    assert frame == 75 * 60
    visit.close(frame)
    clock.now += 60
    slow = caller.enter(None)
    for frame in range(75 * 600):  # in real time, never more than comes in
        clock.now += 1 / 75
        slow.go_on(frame)


def test_nobody_is_bounded_where_nothing_is_set() -> None:
    caller = Caller()
    visits = [caller.enter(None) for _ in range(1000)]
    for visit in visits:
        visit.go_on(10**9)


OWNERS = ("a", "b")


def test_a_token_is_good_once_and_not_for_long(clock: Clock) -> None:
    tokens = SocketTokens(60, None)
    first, second = tokens.make("a"), tokens.make("b")
    assert first != second
    assert tokens.use(first, ["b"]) is None, "its key was taken away"
    assert tokens.use(first, OWNERS) == "a" and tokens.use(first, OWNERS) is None
    clock.now += 61
    assert tokens.use(second, OWNERS) is None


def test_a_token_is_good_on_every_server_with_its_key() -> None:
    here, there, stranger = (SocketTokens(60, key) for key in ("a shared key", "a shared key", "another"))
    token = here.make("a")
    assert stranger.use(token, OWNERS) is None and SocketTokens(60, None).use(token, OWNERS) is None
    assert there.use(token, OWNERS) == "a" and there.use(token, OWNERS) is None
    assert here.use(token, OWNERS) == "a", "what is used up there is not known here"


@pytest.mark.parametrize("text", ["", "made up", "ü", "A" * 10_000])
def test_what_is_no_token(text: str) -> None:
    assert SocketTokens(60, "a shared key").use(text, OWNERS) is None


def test_what_one_purpose_sealed_is_none_of_another() -> None:
    sealed = Seal("a shared key", "resume").close(b"anything")
    assert Seal("a shared key", "resume").open(sealed) == b"anything"
    assert SocketTokens(60, "a shared key").use(sealed, OWNERS) is None


def test_used_tokens_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_module, "_MOST_A_SECOND", 3 / 60)
    ledger = OwnLedger()
    tokens = SocketTokens(60, None, ledger)
    for _ in range(3):
        assert tokens.use(tokens.make("a"), OWNERS) == "a"
    more = tokens.make("a")
    with pytest.raises(ApiError) as refused:
        tokens.use(more, OWNERS)
    assert refused.value.status == 429
    assert tokens.use(tokens.make("b"), OWNERS) == "b", "others are not concerned"
    clock.now += 61
    assert tokens.use(tokens.make("a"), OWNERS) == "a" and len(tokens._used) == len(ledger._used) == 1, (
        "nothing is kept of what is too old"
    )


def test_who_used_too_many_tokens_is_told_when_the_first_of_its_own_is_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_module, "_MOST_A_SECOND", 3 / 60)
    tokens = SocketTokens(60, None)
    assert tokens.use(tokens.make("b"), OWNERS) == "b"
    clock.now += 59
    for _ in range(3):
        assert tokens.use(tokens.make("a"), OWNERS) == "a"
    with pytest.raises(ApiError, match="try again in 60 s") as refused:
        tokens.use(tokens.make("a"), OWNERS)
    assert refused.value.retry_after == 60, "b's is forgotten in 1 s, which is nothing to a"
    clock.now += 60
    assert tokens.use(tokens.make("a"), OWNERS) == "a"


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("example.com", False),
    ],
)
def test_who_can_reach_it_decides(host: str, alone: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert is_loopback(host) is alone
    guard = Guard(Settings(host=host))
    assert guard.open is alone and (guard.made_key is None) is alone
    guard.announce()
    shown = capsys.readouterr().err
    if guard.made_key is None:
        assert shown == "" and guard.caller_of(call()).name == ""
    else:
        assert shown.startswith(f"key {guard.made_key}\n")
        assert refusal_of(guard, call()).code == "no_key"
        assert guard.caller_of(with_key(guard.made_key)).name == "made-at-start"
    assert Guard(Settings(host=host, open=True)).open
    assert Guard(Settings(host=host, open=True)).token_for(call()) == "none-needed", "and none is kept"


def test_a_guard_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    studio = add_key(file, "studio", 1, None)
    guard = Guard(Settings(keys=file))
    assert not guard.open, "a file of keys holds on loopback too"
    assert guard.caller_of(with_key(studio)).name == "studio"
    assert guard.caller_of(with_key(studio)) is guard.caller_of(with_key(studio))
    visit = guard.caller_of(with_key(studio)).enter(None)
    for wrong in (call(), with_key("wgpt_no"), call({"Authorization": f"Basic {studio}"}), call({}, f"token={studio}")):
        error = refusal_of(guard, wrong)
        assert (error.status, error.close_code) == (401, 1008) and studio not in error.message
    guest = add_key(file, "guest", None, None)
    assert guard.caller_of(with_key(guest)).name == "guest"
    with pytest.raises(ApiError):  # what was known of the other has stayed
        guard.caller_of(with_key(studio)).enter(75)
    visit.close(0)

    text = file.read_text()
    file.write_text("[[key]] broken")
    os.utime(file, (1, 1))
    assert guard.caller_of(with_key(guest)).name == "guest", "a broken file changes nothing"
    blocks = text.split("\n\n")
    file.write_text(
        "\n\n".join(block for block in blocks if "guest" not in block).replace("streams = 1", "streams = 2")
    )
    assert refusal_of(guard, with_key(guest)).code == "wrong_key"
    guard.caller_of(with_key(studio)).enter(75), guard.caller_of(with_key(studio)).enter(75)
    file.unlink()
    assert guard.caller_of(with_key(studio)).name == "studio"
    known = guard.caller_of(with_key(studio))
    guard.require_known(known)
    file.write_text("")
    assert refusal_of(guard, with_key(studio)).code == "wrong_key", "the last key is taken away as any other"
    assert refusal_of(guard, call()).code == "no_key" and not guard.open
    with pytest.raises(ApiError, match="taken away"):
        guard.require_known(known)
    with pytest.raises(KeyFileError, match="has no keys"):
        Guard(Settings(keys=file))


def replace_key(file: Path, name: str) -> str:
    """Make another key of the same name in the place of one."""
    kept = [block for block in file.read_text().split("\n\n") if f'"{name}"' not in block]
    file.write_text("\n\n".join(kept))
    return add_key(file, name, 1, 60)


def test_a_key_is_not_its_name(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    old = add_key(file, "studio", 1, 60)
    add_key(file, "guest", None, None)
    guard = Guard(Settings(keys=file))
    before = guard.caller_of(with_key(old))
    visit, token = before.enter(75 * 60), guard.token_for(with_key(old))
    new = replace_key(file, "studio")
    after = guard.caller_of(with_key(new))
    assert after is not before and after.name == before.name and after.identity != before.identity
    with pytest.raises(ApiError, match="taken away") as refused:
        guard.require_known(before)
    assert (refused.value.status, refused.value.close_code) == (401, 1008)
    guard.require_known(after)
    assert refusal_of(guard, with_key(old)).code == "wrong_key"
    assert refusal_of(guard, call({}, f"token={token}", "websocket")).code == "wrong_token"
    after.enter(75 * 60).close(0)  # what the first has used is nothing to the second
    visit.close(0)


def test_a_file_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    file, other = tmp_path / "keys.toml", tmp_path / "others.toml"
    old, new = add_key(file, "studio", None, None), add_key(other, "studio", None, None)
    for one in (file, other):
        os.utime(one, (1, 1))
    assert file.stat().st_size == other.stat().st_size
    guard = Guard(Settings(keys=file))
    guard._settled_at = 0.0
    content = other.read_bytes()
    other.replace(file)
    assert guard.caller_of(with_key(new)).name == "studio"
    assert refusal_of(guard, with_key(old)).code == "wrong_key"
    guard._settled_at = 0.0
    file.write_bytes(content.replace(digest_of(new).encode(), digest_of(old).encode()))
    os.utime(file, (1, 1))
    assert guard.caller_of(with_key(old)).name == "studio", "written over, in the same place"


def test_a_file_that_changed_lately_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have changed twice within one tick of the file system's clock."""
    file = tmp_path / "keys.toml"
    old = add_key(file, "studio", None, None)
    guard = Guard(Settings(keys=file))
    stamp = guard._stamp
    monkeypatch.setattr("whispergpt.server.access.guard._stamp_of", lambda _: stamp)
    new = replace_key(file, "studio")
    assert guard.caller_of(with_key(new)).name == "studio" and refusal_of(guard, with_key(old)).code == "wrong_key"


def test_whether_there_is_another_key_is_known(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    key = add_key(file, "studio", None, None)
    guard = Guard(Settings(keys=file))
    caller = guard.caller_of(with_key(key))
    assert caller.alone and Guard(Settings()).caller_of(call()).alone
    add_key(file, "guest", None, None)
    assert guard.caller_of(with_key(key)) is caller and not caller.alone


def test_places_count_as_streams() -> None:
    caller, places = Caller("studio", streams=2), Places()
    first = places.keep("speech", "realtime", True, caller)
    with places.keep("speech", "realtime", True, caller):
        assert not caller.has_room
        with pytest.raises(ApiError, match="2 streams at once"):
            caller.enter(75)
    assert first.take("speech", "realtime")
    first.give_back()
    caller.enter(75), caller.enter(75)
    assert not caller.has_room


def test_prompts_are_paid_for(clock: Clock) -> None:
    caller = Caller("studio", audio_seconds_a_minute=60)
    caller.pay(50)
    caller.charge(20)  # of a prompt that was let in
    with pytest.raises(ApiError, match="try again in 10 s"):
        caller.pay(1)
    caller.enter(75 * 5, prompt_seconds=20)  # what the prompt used does not keep its first stream out
    with pytest.raises(ApiError, match="try again in 15 s"):
        caller.enter(75, prompt_seconds=10)  # what other streams used does
    with pytest.raises(ApiError, match="try again in 15 s"):
        caller.enter(75)
    caller.pay_back(20)
    caller.pay(1)
    Caller().charge(1e9)


async def test_prompts_beyond_the_streams_of_a_key_wait_their_turn() -> None:
    caller, order = Caller("studio", streams=2), []
    done = asyncio.Event()

    async def work(number: int) -> None:
        async with caller.prompt_turn():
            order.append(number)
            await done.wait()

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(work(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == [0, 1]
        done.set()
    assert order == [0, 1, 2, 3]
    async with Caller().prompt_turn(), Caller().prompt_turn():
        pass


def test_a_token_stands_for_its_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    key = add_key(file, "studio", None, None)
    guard = Guard(Settings(keys=file))
    token = guard.token_for(with_key(key))
    assert refusal_of(guard, call({}, f"token={token}")).code == "no_key", "it opens a WebSocket, and nothing else"
    socket = call({}, f"token={token}", "websocket")
    assert guard.caller_of(socket) is guard.caller_of(with_key(key))
    assert refusal_of(guard, socket).code == "wrong_token"
    with pytest.raises(ApiError):
        guard.token_for(call())


def test_pages_of_other_origins_are_kept_out() -> None:
    guard = Guard(Settings(cors_origins=["https://studio.example"]))
    here = {"Host": "localhost:8000"}
    for origin in ("http://localhost:8000", "http://LOCALHOST:8000", "https://studio.example"):
        assert guard.caller_of(call({**here, "Origin": origin})).name == ""
    proxied = Guard(Settings(open=True))
    for origin, host in (("https://a.example", "a.example:443"), ("http://a.example:80", "a.example")):
        assert proxied.caller_of(call({"Host": host, "Origin": origin})).name == ""
        refused = refusal_of(guard, call({"Host": host, "Origin": origin}))
        assert refused.code == "wrong_origin", "a name that was made to lead here"
    for host in ("127.0.0.1:8000", "[::1]:8000", "whisper.localhost:8000"):
        assert guard.caller_of(call({"Host": host, "Origin": f"http://{host}"})).name == ""
    wrong = (
        "https://evil.example",
        "null",
        "http://localhost:9000",
        "https://studio.example.evil.example",
        "http://[",
        "",
    )
    for origin in (*wrong, "http://localhost", "file://localhost:8000", "http://localhost:port"):
        error = refusal_of(guard, call({**here, "Origin": origin}))
        assert (error.status, error.close_code) == (403, 1008)
    assert Guard(Settings(cors_origins=["*"])).caller_of(call({**here, "Origin": "https://evil.example"}))


def test_keys_and_open_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="a server with keys is not open"):
        Settings(keys=tmp_path / "k", open=True)


def test_the_command_makes_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "keys.toml")

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["keys", *arguments, "--file", file])
        return int(ended.value.code or 0)

    assert run("make", "studio", "--streams", "3", "--audio-seconds-a-minute", "120") == 0
    key = capsys.readouterr().out.strip()
    assert Guard(Settings(keys=Path(file))).caller_of(with_key(key)).name == "studio"
    assert run("make", "studio") == 2
    assert "already" in capsys.readouterr().err
    assert run("list") == 0
    assert capsys.readouterr().out == "studio: 3 streams at once, 120 s of audio a minute\n"
    assert run("make", "no name") == 2
