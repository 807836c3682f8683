"""Limits of keys across the replicas of a fleet: each tells the others, through a store, what its callers use.

The store speaks Redis' protocol (Redis 5 or newer, Valkey and others), and its clock alone is used. It has, for each
replica, what each key uses there now, and for each key the time at which its allowance is full again. What the others
use counts as ``Number.common`` here, so that every bound is checked as in a server that is alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from whispergpt.engine.extras import MissingPackageError, require_package
from whispergpt.server.access.api_keys import ApiKey
from whispergpt.server.access.caller import COUNTED, SPENT, name_of
from whispergpt.server.access.guard import Guard
from whispergpt.server.ledger import Ledger
from whispergpt.server.observe import logs

if TYPE_CHECKING:
    from pydantic import SecretStr
    from redis.asyncio import Redis

log = logs.get("server.fleet_limits")

SHARED = "limits shared"
"""Number that is 1 while limits are those of the fleet, and 0 while they are this replica's."""
EVERY_SECONDS = 0.25
"""Seconds between two exchanges: replicas that are asked within this time may each let a stream in."""
STALE_SECONDS = 3.0
"""Seconds after which a replica that says nothing counts as gone, and after which a store that says nothing counts as
one that knows of no other replica."""
_PATIENCE_SECONDS = 1.0
_KEYS = ("{whispergpt}:use", "{whispergpt}:allowances")
_EXCHANGE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.6f ', now) .. ARGV[2])
local others, entries = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local at, use = string.match(entries[i + 1], '^(%S+) (.*)$')
  if now - tonumber(at) > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], entries[i])
  elseif entries[i] ~= ARGV[1] then
    others[#others + 1] = use
  end
end
for i = 4, #ARGV, 2 do
  local full = math.max(now, tonumber(redis.call('ZSCORE', KEYS[2], ARGV[i]) or 0)) + tonumber(ARGV[i + 1])
  redis.call('ZADD', KEYS[2], string.format('%.6f', full), ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now))
local filling, allowances = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), {}
for i = 1, #filling, 2 do
  allowances[i], allowances[i + 1] = filling[i], string.format('%.6f', tonumber(filling[i + 1]) - now)
end
return {others, allowances}
"""
"""Script that the store runs as one step: take this replica's use and return that of the others.

Arguments: the replica, its use as JSON, STALE_SECONDS, and for each key whose allowance was used or given back its
digest and by how many seconds its allowance is full later. Answer: the use of the others, each as JSON; and of each key
with less than its whole allowance the digest, and the seconds until that is full.
"""

_Use = dict[str, tuple[float, ...]]
"""Numbers of each key, by its digest, in the order of ``COUNTED``."""


class FleetLimitsError(ValueError):
    """Shared limits were asked for and cannot be had; the message is written for the operator."""


class FleetLimits:
    """The exchange of one replica with the others.

    Args:
        address: of the store, ``redis://[:PASSWORD@]HOST[:PORT][/DATABASE]``, or ``rediss`` or ``unix``.
        guard: knows the keys.
        ledger: has what is counted of their callers.

    Raises:
        FleetLimitsError: the package is not installed, or the address is none.
    """

    def __init__(self, address: SecretStr, guard: Guard, ledger: Ledger) -> None:
        try:
            require_package("redis", "WHISPERGPT_LIMITS_STORE", "limits")
        except MissingPackageError as error:
            raise FleetLimitsError(str(error)) from None
        from redis.asyncio import Redis

        try:
            self._store: Redis = Redis.from_url(
                address.get_secret_value(), decode_responses=True, socket_connect_timeout=_PATIENCE_SECONDS
            )
        except ValueError as error:
            raise FleetLimitsError(f"WHISPERGPT_LIMITS_STORE: {error}") from None
        self._host = urlsplit(address.get_secret_value()).hostname or "a socket"
        self._guard, self._ledger, self._shared = guard, ledger, ledger.number(SHARED)
        self._replica = secrets.token_hex(8)
        self._exchange = self._store.register_script(_EXCHANGE)
        self._theirs: dict[tuple[str, ...], float] = {}
        """Numbers of the other replicas that are part of the ledger's, by their names there."""
        self._told: dict[str, float] = {}
        """Seconds of audio that each key has spent here, as the store has been told."""
        self._filling: set[str] = set()
        """Digests of keys that had less than their whole allowance, as the store said last."""
        self._answered_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Exchange from now on, until ``stop``."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Leave the fleet: what is used here does not count elsewhere any more."""
        from redis.exceptions import RedisError

        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._store.hdel(_KEYS[0], self._replica)
                await self._store.aclose()

    async def exchange(self) -> None:
        """Tell the store what is used here, and count what the others use.

        Raises:
            RedisError, OSError, TimeoutError: the store does not answer.
            msgspec.MsgspecError: the store has something else.
        """
        keys = self._guard.keys
        spent = self._spent(keys)
        later = [part for digest, (_, seconds) in spent.items() for part in (digest, f"{seconds:.6f}")]
        use = msgspec.json.encode(self._use(keys)).decode()
        arguments: list[str | float] = [self._replica, use, STALE_SECONDS, *later]
        async with asyncio.timeout(_PATIENCE_SECONDS):
            others, answered = await self._exchange(keys=list(_KEYS), args=arguments)
        self._told.update({digest: total for digest, (total, _) in spent.items()})
        self._count([msgspec.json.decode(use, type=_Use) for use in others], keys)
        allowances = dict(zip(answered[::2], map(float, answered[1::2]), strict=True))
        for digest in {*allowances, *self._filling} & keys.keys():
            self._set_used(keys[digest], allowances.get(digest, 0.0))
        self._filling = set(allowances)

    async def _run(self) -> None:
        from redis.exceptions import RedisError

        loop = asyncio.get_running_loop()
        self._answered_at = loop.time()
        shared: bool | None = None
        while True:
            try:
                await self.exchange()
                self._answered_at, now_shared = loop.time(), True
            except (RedisError, OSError, TimeoutError, msgspec.MsgspecError) as error:
                now_shared, reason = False, str(error) or type(error).__name__
                if loop.time() - self._answered_at > STALE_SECONDS:
                    self._count([], {})
            if now_shared != shared:
                shared = now_shared
                self._shared.common = float(shared)
                if shared:
                    log.info("limits are those of the fleet", store=self._host)
                else:
                    log.warning("limits are those of this replica alone", store=self._host, reason=reason)
            await asyncio.sleep(EVERY_SECONDS)

    def _total(self, what: str, digest: str) -> float:
        """Return the sum of a key's number in the ledger."""
        return self._ledger.total(*name_of(what, digest)) or 0.0

    def _use(self, keys: Mapping[str, ApiKey]) -> _Use:
        """Return what is used here, of each key with a bound that uses anything."""
        use: _Use = {}
        for digest, key in keys.items():
            # One look is enough for a key that never came here.
            if key.streams is not None and self._ledger.total(*name_of(COUNTED[0], digest)) is not None:
                ours = tuple(
                    self._total(what, digest) - self._theirs.get(name_of(what, digest), 0.0) for what in COUNTED
                )
                if any(ours):
                    use[digest] = ours
        return use

    def _untold(self, digest: str) -> float:
        """Return the seconds of audio that a key has spent here and that the store has not been told of."""
        return self._total(SPENT, digest) - self._told.get(digest, 0.0)

    def _spent(self, keys: Mapping[str, ApiKey]) -> dict[str, tuple[float, float]]:
        """Return, of each key that spent audio since the last exchange, all that it spent here, and how many seconds
        later its allowance is full by what is new."""
        spent: dict[str, tuple[float, float]] = {}
        for digest, key in keys.items():
            if key.audio_seconds_a_minute is not None and (new := self._untold(digest)):
                # What came back since, while the store did not answer, is not told any more.
                new = min(new, self._guard.caller_with(digest).used)
                spent[digest] = self._total(SPENT, digest), new * 60 / key.audio_seconds_a_minute
        return spent

    def _count(self, others: list[_Use], keys: Collection[str]) -> None:
        """Have the ledger count what the other replicas use, of the keys that are known here."""
        theirs: dict[tuple[str, ...], float] = {}
        for use in others:
            for digest in use.keys() & keys:
                for what, number in zip(COUNTED, use[digest], strict=False):
                    name = name_of(what, digest)
                    theirs[name] = theirs.get(name, 0.0) + number
        with self._ledger.turn:
            for name in {*theirs, *self._theirs}:
                change = theirs.get(name, 0.0) - self._theirs.get(name, 0.0)
                if change:
                    self._ledger.number(*name).common += change
        self._theirs = theirs

    def _set_used(self, key: ApiKey, seconds: float) -> None:
        """Set how many seconds from now the allowance of a key is full, by what the store was told of."""
        if key.audio_seconds_a_minute is not None:
            used = seconds * key.audio_seconds_a_minute / 60 + self._untold(key.sha256)
            self._guard.caller_with(key.sha256).use_is(used)
