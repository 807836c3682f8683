"""Limits of keys that replicas share by a store: a real one, with exchanges alone and with whole servers."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as NoConnection

from tests.support.audio import SPEECH, pcm_of, speech
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.tools import require_tool
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access import fleet_limits
from whispergpt.server.access.api_keys import add_key, digest_of
from whispergpt.server.access.caller import Caller
from whispergpt.server.access.fleet_limits import SHARED, FleetLimits, FleetLimitsError
from whispergpt.server.access.guard import Guard
from whispergpt.server.errors import ApiError
from whispergpt.server.ledger import Ledger, OwnLedger
from whispergpt.server.settings import Settings
from whispergpt.server.workers.board import Board


class Store:
    """A store of its own, on a socket in a folder, that can be ended and started again empty."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "store.sock"
        self.address = f"unix://{self.socket}"
        self.start()

    def start(self) -> None:
        command = [require_tool("redis-server"), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self._process = subprocess.Popen([*command, "--dir", str(self.socket.parent)], stdout=subprocess.DEVNULL)
        wait_until(self.socket.exists, "the store listens")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self.socket.unlink(missing_ok=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.end()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


class Replica:
    """What a replica has of keys, and its exchange."""

    def __init__(self, store: Store, keys: Path, ledger: Ledger) -> None:
        self.ledger, self.guard = ledger, Guard(Settings(keys=keys), ledger)
        self.limits = FleetLimits(SecretStr(store.address), self.guard, ledger)

    def caller(self, key: str) -> Caller:
        return self.guard.caller_with(digest_of(key))


async def test_bounds_count_what_other_replicas_use(store: Store, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two, frugal = add_key(keys, "two", 2, None), add_key(keys, "frugal", None, 60.0)
    board = Board.make(lanes=2)
    here, there = Replica(store, keys, OwnLedger()), Replica(store, keys, board)

    async def exchange() -> None:
        for replica in (here, there, here):
            await replica.limits.exchange()

    first = here.caller(two).enter(None)
    front_end = Caller("two", 2, None, digest_of(two), ledger=Board(board.descriptor, 2, 1))
    second = front_end.enter(None)
    await exchange()
    for caller in (here.caller(two), front_end, there.caller(two)):
        assert not caller.has_room
        with pytest.raises(ApiError, match="may have 2 streams at once"):
            caller.enter(75)
    second.close(0)
    await exchange()
    assert here.caller(two).has_room and front_end.has_room, "and a place is free again everywhere"

    here.caller(frugal).pay(50)
    there.caller(frugal).pay(30)
    await exchange()
    used = [replica.caller(frugal).used for replica in (here, there)]
    assert used == pytest.approx([80, 80], abs=2), "one allowance, which both have used"
    with pytest.raises(ApiError, match="used up its 60 seconds"):
        there.caller(frugal).pay(1)
    here.caller(frugal).pay_back(50)
    await exchange()
    assert there.caller(frugal).used == pytest.approx(30, abs=3)
    there.caller(frugal).pay(1)
    await exchange()
    here.caller(frugal).pay_back(60)
    await exchange()
    assert (here.caller(frugal).used, there.caller(frugal).used) == (0, 0), "an allowance is whole again everywhere"

    monkeypatch.setattr(fleet_limits, "STALE_SECONDS", 0.2)
    assert not first._over and front_end.enter(None) is not None
    await here.limits.exchange()
    assert not there.caller(two).has_room
    await asyncio.sleep(0.3)
    await there.limits.exchange()
    assert there.caller(two).has_room, "a replica that says nothing any more is gone"
    for replica in (here, there):
        await replica.limits.stop()


async def test_without_its_store_a_replica_goes_on_by_itself(
    store: Store, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_limits, "STALE_SECONDS", 0.5)
    monkeypatch.setattr(fleet_limits, "EVERY_SECONDS", 0.02)
    single = add_key(keys, "single", 1, None)
    here, there = Replica(store, keys, OwnLedger()), Replica(store, keys, OwnLedger())

    async def until(fact: str, *, shared: bool, room: bool) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while here.ledger.number(SHARED).total != shared or here.caller(single).has_room != room:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    for replica in (here, there):
        replica.limits.start()
    there.caller(single).enter(None)
    await until("what the other plays counts", shared=True, room=False)
    store.end()
    with pytest.raises((NoConnection, OSError)):
        await here.limits.exchange()
    await until("its own bound alone is left", shared=False, room=True)
    store.start()
    await until("both are a fleet again", shared=True, room=False)
    await there.limits.stop()
    await until("who leaves takes its streams along", shared=True, room=True)
    await here.limits.stop()


def test_an_address_that_is_none_is_told(keys: Path) -> None:
    add_key(keys, "any", 1, None)
    ledger = OwnLedger()
    guard = Guard(Settings(keys=keys), ledger)
    with pytest.raises(FleetLimitsError, match="WHISPERGPT_LIMITS_STORE: Redis URL must specify"):
        FleetLimits(SecretStr("localhost:6379"), guard, ledger)


def test_two_servers_are_one_to_a_key(store: Store, keys: Path) -> None:
    """Also where one of them has several front ends, whose hub asks the store."""
    single, frugal = add_key(keys, "single", 1, None), add_key(keys, "frugal", None, 12.0)
    form = {"files": {"audio": SPEECH.read_bytes()}, "data": {"seconds": "8", "response_format": "pcm"}}

    def continued(server: ServerProcess, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        answer = HTTP.post(f"{server.url}/continue", **form, headers=headers)  # type: ignore[arg-type]
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] in ("key_streams", "key_audio")
        return answer.status_code

    def is_shared(server: ServerProcess) -> bool:
        return "whispergpt_limits_shared 1" in HTTP.get(f"{server.url}/metrics").text

    environment = {"WHISPERGPT_LIMITS_STORE": store.address, "WHISPERGPT_OPEN_METRICS": "true"}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(ServerProcess("--keys", str(keys), *more, environment=environment))
            for more in ((), ("--workers", "2"))
        ]
        wait_until(lambda: all(map(is_shared, servers)), "the limits are shared")
        with LiveSocket(servers[0].url, headers={"Authorization": f"Bearer {single}"}) as socket:
            socket.update(input={"format": "pcm_s16le", "sample_rate": 24_000})
            socket.commit(pcm_of(speech(1.0)))
            socket.create(None)
            wait_until(lambda: continued(servers[1], single) == 429, "the other server refuses a second stream")
        wait_until(lambda: continued(servers[1], single) == 200, "the first has ended, everywhere")
        answers = []
        with suppress(AssertionError):
            wait_until(lambda: answers.append(continued(servers[len(answers) % 2], frugal)) or 429 in answers, "", 20)
        assert answers[0] == 200 and 429 in answers and len(answers) <= 4, "an allowance for both"
        store.end()
        time.sleep(0.1)
        assert "Traceback" not in servers[0].log() + servers[1].log()
