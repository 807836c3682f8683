"""A fleet on this machine: Ray with two nodes, each a process tree of its own, on loopback."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import ray
import yaml
from ray import serve
from ray._private import ray_constants
from ray.cluster_utils import Cluster
from ray.util import list_named_actors

from tests.support.metrics import Metrics
from tests.support.ports import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SERVE_YAML = ROOT / "deploy" / "ray" / "serve.yaml"
NAME = "whispergpt"
NODES = 2
START_SECONDS = 90.0
STOP_SECONDS = 20.0
PAUSE_SECONDS = 0.25
"""Seconds between questions to Ray, each of which takes some of its processes' time."""
_NAMESPACE = "serve"
_STORE_BYTES = 80 * 1024 * 1024
"""Hardly more than the least that Ray takes."""
_SOCKET = "ray/session_2000-01-01_00-00-00_000000_1234567/sockets/plasma_store_1"
"""Longest path that Ray makes a socket at, below its folder."""
_SOCKET_BYTES = 107
"""Most bytes that the path of a Unix socket may have."""


class LocalFleet:
    """Deploys as an operator does: ``serve run`` of the repository's ``serve.yaml``, with the given changes.

    Args:
        environment: settings of the server, which all nodes have.
    """

    def __init__(self, **environment: str) -> None:
        self._folder = _short_folder()
        self._patch = pytest.MonkeyPatch()
        self._pids: set[int] = set()
        self._cluster: Cluster | None = None
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        for name, value in {
            "PYTHONPATH": str(ROOT),
            # Ray keeps its sessions and the address of the newest cluster there, by default for all users in /tmp/ray.
            "RAY_TMPDIR": str(self._folder),
            "RAY_AUTH_MODE": "disabled",  # by default it depends on whether the user's home holds a token of Ray's
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray makes the machine's own address of 127.0.0.1
            "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
            "RAY_worker_niceness": "0",
            **environment,
        }.items():
            self._patch.setenv(name, value)
        self._patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # the same, of this process

    def __enter__(self) -> LocalFleet:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def deploy(self, drain_seconds: float, **autoscaling: Any) -> None:
        """Bring the fleet to this shape, by and by. A change of it leaves the replicas that stay as they are."""
        config = yaml.safe_load(SERVE_YAML.read_text())
        config["proxy_location"] = "HeadOnly"  # the nodes share an address
        config["http_options"] = {"host": "127.0.0.1", "port": self._port}
        (deployment,) = config["applications"][0]["deployments"]
        deployment["ray_actor_options"] = {"num_cpus": 1}
        deployment["graceful_shutdown_timeout_s"] = drain_seconds
        deployment["autoscaling_config"] |= {"metrics_interval_s": 0.5, "look_back_period_s": 1.0, **autoscaling}
        path = self._folder / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [Path(sys.executable).with_name("serve"), "run", "--non-blocking", "--address", self._address(), path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
        assert done.returncode == 0, done.stderr

    def states(self) -> dict[str, int]:
        """How many replicas there are in each of Ray Serve's states."""
        application = serve.status().applications.get(NAME)
        if application is None or NAME not in application.deployments:
            return {}
        assert application.status != "DEPLOY_FAILED", application.message
        return {str(state): count for state, count in application.deployments[NAME].replica_states.items()}

    def wait_for(self, replicas: int, seconds: float = START_SECONDS) -> None:
        """Until so many replicas run, and none starts or stops."""
        wait_until(lambda: self.states() == {"RUNNING": replicas}, f"{replicas} replicas run", seconds, PAUSE_SECONDS)
        self._note_pids()

    def wait_until_reached(self, replicas: int) -> None:
        """Until the proxy sends to so many: it hears of a new one later than Ray says that it runs."""
        answered: set[float] = set()

        def more() -> bool:
            answered.add(Metrics(self.url).sum("whispergpt_server_process_start_time_seconds"))
            return len(answered) == replicas

        wait_until(more, f"{replicas} replicas answer", pause=PAUSE_SECONDS)

    def playing(self) -> dict[int, int]:
        """Requests and sessions of each replica, by its pid."""
        asked = (self._ask(name, lambda it: (os.getpid(), it.get_num_ongoing_requests())) for name in _replica_names())
        return dict(asked)

    def niceness(self) -> set[int]:
        """Return what replicas and their engines run with. Decoders give way to these."""
        pids = [pid for replica in self.playing() for pid in (replica, *_children(replica)) if not _decodes(pid)]
        return {os.getpriority(os.PRIO_PROCESS, pid) for pid in pids}

    def nodes(self) -> set[str]:
        """The nodes that replicas are on."""
        return {self._ask(name, lambda _: ray.get_runtime_context().get_node_id()) for name in _replica_names()}

    def kill(self, pid: int) -> None:
        """End a replica and its engine, with no word."""
        for each in (*_children(pid), pid):
            os.kill(each, signal.SIGKILL)

    def close(self) -> None:
        """End everything."""
        try:
            if ray.is_initialized():  # else asking for the replicas would start another cluster
                with contextlib.suppress(Exception):
                    self._note_pids()
            ray.shutdown()
            if self._cluster is not None:
                self._cluster.shutdown()
            self._end_what_is_left()
        finally:
            self._patch.undo()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        node = {"node_ip_address": "127.0.0.1", "object_store_memory": _STORE_BYTES}
        self._cluster = Cluster()
        self._cluster.add_node(num_cpus=1, include_dashboard=False, **node)
        for _ in range(NODES - 1):
            self._cluster.add_node(num_cpus=1, **node)
        ray.init(address=self._address(), namespace=_NAMESPACE, log_to_driver=False, logging_level=logging.WARNING)

    def _address(self) -> str:
        assert self._cluster is not None
        return str(self._cluster.address)

    def _ask(self, name: str, question: Callable[[Any], Any]) -> Any:
        """Have a replica's actor answer; Ray sends it a function without a name by value."""
        actor = ray.get_actor(name, namespace=_NAMESPACE)
        return ray.get(actor.__ray_call__.remote(question), timeout=STOP_SECONDS)

    def _note_pids(self) -> None:
        for pid in self.playing():
            self._pids |= {pid, *_children(pid)}

    def _end_what_is_left(self) -> None:
        """Replicas end with their node, and engines with their replica; what does not is ended here, and told."""
        deadline = time.monotonic() + STOP_SECONDS
        while (
            left := {pid for pid in self._pids if Path(f"/proc/{pid}/exe").exists()}
        ) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"{len(left)} processes outlived their node"


def _short_folder() -> Path:
    """Make an empty folder whose path leaves room for Ray's sockets: in TMPDIR, or in /tmp if TMPDIR is too long."""
    for parent in (tempfile.gettempdir(), "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="fleet-", dir=parent))
        if len(os.fsencode(folder / _SOCKET)) <= _SOCKET_BYTES:
            return folder
        folder.rmdir()
    raise RuntimeError("the path of /tmp is too long for the sockets of Ray")


def _replica_names() -> list[str]:
    actors: list[Any] = list_named_actors(all_namespaces=True)
    return sorted(actor["name"] for actor in actors if actor["name"].startswith(f"SERVE_REPLICA::{NAME}#"))


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists()


def _decodes(pid: int) -> bool:
    return b"whispergpt.engine.audio.nursery" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _children(pid: int) -> set[int]:
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return {int(child) for line in lists for child in line.split()}
