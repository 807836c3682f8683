"""Several front ends: any of them does what one does, and each may die, or be replaced, without harm to streams."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import HOP, SPEECH
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.processes import alive, children
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key

WORKERS = 3
STREAMS = 4
"""Streams that the one key may have at once."""
SECONDS = 7.0
FRAME_BYTES = 2 * HOP
SEEDS = range(STREAMS)
EVEN = 0.2
CONNECTIONS = 900
"""Connections; ``EVEN`` is more than four standard deviations of a front end's share of so many."""


def serving(process: ServerProcess) -> int:
    """The number of front ends that have ever served."""
    return process.log().count('"event": "front end serves"')


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    return file, add_key(file, "studio", STREAMS, None)


@pytest.fixture(scope="module")
def process(key: tuple[Path, str]) -> Iterator[ServerProcess]:
    """A server where a stream that goes on elsewhere has the very same samples."""
    arguments = ("--workers", str(WORKERS), "--keys", str(key[0]), "--strict")
    with ServerProcess(*arguments, environment={"WHISPERGPT_OPEN_METRICS": "true"}) as running:
        yield running
        wait_for_idle(running.url)
        running.terminate()
        assert running.wait(15) == 0, running.log()


@pytest.fixture(scope="module")
def whole(process: ServerProcess, key: tuple[Path, str]) -> list[bytes]:
    """What each seed gives where nothing happens."""
    with Client(process.url, api_key=key[1]) as client:
        return [b"".join(client.stream(SPEECH, seconds=SECONDS, seed=seed, pace="fast")) for seed in SEEDS]


def listen(url: str, key: str, seed: int, heard: list[bytearray]) -> bytes:
    """Listen in real time, resuming what is cut off."""
    with Client(url, api_key=key) as client:
        for pcm in client.stream(SPEECH, seconds=SECONDS, seed=seed, resume_seconds=60):
            heard[seed] += pcm
    return bytes(heard[seed])


def assert_accounts_are_exact(url: str, key: str) -> None:
    """The key may have as many streams as it should, and not one more; and nothing is held."""
    wait_for_idle(url)
    with ExitStack() as open_:
        sockets = [open_.enter_context(LiveSocket(url, headers={"Authorization": f"Bearer {key}"})) for _ in SEEDS]
        for one in sockets:
            one.commit(SPEECH.read_bytes())
            one.create(None)
        with Client(url, api_key=key) as client, pytest.raises(WhisperGPTError) as refused:
            client.continue_file(SPEECH, seconds=1)
        assert refused.value.code == "key_streams"
        assert Metrics(url).sum("whispergpt_sessions_open") == STREAMS
    wait_for_idle(url)
    for name in ("sessions_open", "requests_open", "upload_bytes", "control_bytes", "prompts_encoding"):
        wait_until(lambda of=f"whispergpt_{name}": Metrics(url).sum(of) == 0, f"no {name}")  # type: ignore[misc]


@pytest.mark.parametrize("replaced", [False, True], ids=["killed", "replaced in turn"])
def test_listeners_go_on_through_another_front_end(
    process: ServerProcess, key: tuple[Path, str], whole: list[bytes], replaced: bool
) -> None:
    heard = [bytearray() for _ in SEEDS]
    before, frames = serving(process), Metrics(process.url).sum("whispergpt_frames_total")
    with ThreadPoolExecutor(STREAMS) as threads:
        listeners = [threads.submit(listen, process.url, key[1], seed, heard) for seed in SEEDS]
        wait_until(lambda: all(len(one) > 100 * FRAME_BYTES for one in heard), "all play")
        if replaced:
            os.kill(process.pid, signal.SIGHUP)
        else:
            for pid in process.worker_pids()[:2]:
                os.kill(pid, signal.SIGKILL)
        assert [one.result() for one in listeners] == whole, "no sample is lost, doubled or another"
    wait_until(lambda: serving(process) == before + (WORKERS if replaced else 2), "new ones serve")
    wait_until(lambda: len(process.worker_pids()) == WORKERS, "as many as before run")
    assert Metrics(process.url).sum("whispergpt_frames_total") >= frames, "no counter falls"
    assert_accounts_are_exact(process.url, key[1])


def test_what_one_front_end_gives_out_another_takes_once(process: ServerProcess, key: tuple[Path, str]) -> None:
    headers = {"Authorization": f"Bearer {key[1]}", "Connection": "close"}
    for _ in range(6):
        form = {"data": {"seconds": "0.5", "seed": "1"}, "files": {"audio": SPEECH.read_bytes()}}
        made = HTTP.post(f"{process.url}/v1/play", headers=headers, **form)  # type: ignore[arg-type]
        assert Metrics(process.url).sum("whispergpt_upload_bytes") > 0
        played = [HTTP.get(process.url + made.json()["url"], headers={"Connection": "close"}) for _ in range(2)]
        assert [answer.status_code for answer in played] == [200, 404]
        token = HTTP.post(f"{process.url}/v1/tokens", headers=headers).json()["token"]
        LiveSocket(process.url, f"?token={token}").drop()
        with LiveSocket(process.url, f"?token={token}", refused=True) as socket_:
            assert socket_.expect("error")["error"]["code"] == "wrong_token"
    wait_until(lambda: Metrics(process.url).sum("whispergpt_sessions_open") == 0, "all have left")
    assert Metrics(process.url).sum("whispergpt_upload_bytes") == 0


def test_connections_are_shared_out_evenly(process: ServerProcess) -> None:
    address = urlsplit(process.url)

    def sockets() -> list[int]:
        pids = sorted(process.worker_pids())
        return [sum("socket:" in str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()) for pid in pids]

    before = sockets()
    with ExitStack() as open_:
        for _ in range(CONNECTIONS):
            open_.enter_context(socket.create_connection((address.hostname, address.port)))  # type: ignore[arg-type]
        wait_until(lambda: sum(sockets()) >= sum(before) + CONNECTIONS, "all are accepted")
        shares = [now - then for now, then in zip(sockets(), before, strict=True)]
    mean = CONNECTIONS / WORKERS
    assert all(abs(share - mean) < EVEN * mean for share in shares), shares


def test_all_processes_are_in_the_server_s_session_and_none_in_its_group(process: ServerProcess) -> None:
    """Priorities count within a session alone (sched_autogroup); Ctrl-C reaches a whole process group."""
    descendants = children(process.pid)
    for pid in descendants:
        descendants += children(pid)
    assert len(descendants) > WORKERS + 1  # its engine, too, and decoders
    for pid in descendants:
        assert os.getsid(pid) == os.getsid(process.pid)
        assert os.getpgid(pid) != os.getpgid(process.pid)


def test_with_the_hub_everything_ends() -> None:
    with ServerProcess("--workers", "2") as process:
        below = children(process.pid)
        variables = Path(f"/proc/{process.worker_pids()[0]}/environ").read_bytes().split(b"\0")
        (folder,) = (Path(os.fsdecode(one.partition(b"=")[2])) for one in variables if one.startswith(b"PROMETHEUS_"))
        assert list(folder.iterdir())
        with Client(process.url) as client, pytest.raises(WhisperGPTError) as lost:
            for _ in client.stream(SPEECH, seconds=60, resume_seconds=0):
                os.kill(process.pid, signal.SIGKILL)
        assert lost.value.code == "closed"
        wait_until(lambda: not any(map(alive, below)), "every process has ended")
        wait_until(lambda: not folder.exists(), "no file is left")
