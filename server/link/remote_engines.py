"""The engines as a front end sees them: started and supervised by another process, each with a link from here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from whispergpt.server.link.devices import EngineDevice
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.engine_socket import EngineSocket
from whispergpt.server.link.engine_start import EngineStartError
from whispergpt.server.link.engines import Engines
from whispergpt.server.link.live_streams import LinkShare
from whispergpt.server.link.supervisor import Supervisor
from whispergpt.server.observe.loop_lag import watch_loop_lag
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.settings import Settings


class EngineConnection(EngineSocket):
    """Socket to a run of an engine that another process started.

    Args:
        pid: of the engine.
        bound: called with the socket's address, for the engine to connect to.
    """

    def __init__(self, settings: Settings, pid: int | None, bound: Callable[[str], None]) -> None:
        super().__init__(settings)
        self._pid, self._bound = pid, bound
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int | None:
        return self._pid

    async def start(self) -> None:
        """Have the engine connect.

        Raises:
            OSError: the socket cannot be made.
        """
        self.bind()
        self._bound(self.endpoint)

    async def wait(self) -> str:
        """Wait for the run's end; returns how it ended."""
        return await asyncio.shield(self._end)

    def end(self, how: str) -> None:
        """Take note of the run's end."""
        if not self._end.done():
            self._end.set_result(how)

    def kill(self) -> None:
        """Give the connection up; the process that started the engine ends it where it hangs."""
        self.end("the engine hangs, or broke the protocol")

    async def close(self) -> None:
        """Close the socket."""
        self.end("the front end has left")
        self.close_socket()


class RemoteSupervisor(Supervisor):
    """Follows an engine that another process supervises.

    Args:
        ready: as in ``Supervisor``.
        share: what the link shares with those of other front ends.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        device: EngineDevice,
        ready: Callable[[EngineLink], None],
        share: LinkShare,
    ) -> None:
        super().__init__(settings, metrics, device, ready, lambda _message, _status: None)
        self._share = share
        self._connection: EngineConnection | None = None
        self._stopping = False

    def follow(self, pid: int | None, bound: Callable[[str], None]) -> None:
        """Connect to a new run of the engine."""
        self.lose("a new run of the engine has begun")
        connection = self._connection = EngineConnection(self._settings, pid, bound)
        self._task = asyncio.create_task(self._follow(connection))

    def lose(self, how: str) -> None:
        """Take note that the engine's run has ended."""
        if self._connection is not None:
            self._connection.end(how)

    async def stop(self) -> None:
        """Leave the engine, which another process ends."""
        self._stopping = True
        self.lose("the front end ends")
        if self._task:
            await asyncio.wait([self._task])

    async def _follow(self, connection: EngineConnection) -> None:
        link = EngineLink(self._settings, self._metrics, self.device, connection, self._share)
        try:
            await connection.start()
            await link.start()
            self.link, self.state = link, "ready"
            self._log.info("engine ready", models=list(link.models))
            self._tell_ready(link)
            how = await link.run()
            if not self._stopping:
                self._log.error("engine lost", how=how)
        except (EngineStartError, OSError) as error:
            self._log.error("no link to the engine", error=str(error))
        finally:
            if self.link in (link, None):
                self.state = "restarting"
            await link.stop()


class RemoteEngines(Engines):
    """Follows the engines that another process supervises.

    Args:
        share: returns what the link to the engine of a number shares with those of other front ends.
        begun: whether every engine has been ready before.
    """

    def __init__(self, settings: Settings, metrics: Metrics, share: Callable[[int], LinkShare], begun: bool) -> None:
        super().__init__(settings, metrics)
        self._share, self._begun = share, begun
        self._followed: dict[int, RemoteSupervisor] = {}

    def follow(self, device: EngineDevice, pid: int | None, bound: Callable[[str], None]) -> None:
        """Connect to a run of an engine that is ready."""
        if device.number not in self._followed:
            share = self._share(device.number)
            one = RemoteSupervisor(self._settings, self._metrics, device, self._engine_ready, share)
            self._followed[device.number] = one
            self._supervisors = [self._followed[number] for number in sorted(self._followed)]
        self._followed[device.number].follow(pid, bound)

    def lose(self, number: int, how: str) -> None:
        """Take note that the run of an engine has ended."""
        if number in self._followed:
            self._followed[number].lose(how)

    def _engine_ready(self, link: EngineLink) -> None:
        self._show(link.models)
        if self._begun or len(self._links()) == link.device.engines:
            self.first_ready.set()

    async def _run(self) -> None:
        await self.first_ready.wait()
        await watch_loop_lag(self._metrics.loop_lag)
