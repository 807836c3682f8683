"""Access: by a key, by a token made with one, or for everybody where only this machine can reach the server."""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from starlette.requests import HTTPConnection

from whispergpt.server.access.api_keys import ApiKey, KeyFileError, digest_of, make_key, read_keys
from whispergpt.server.access.caller import Caller
from whispergpt.server.errors import POLICY_VIOLATION, ApiError
from whispergpt.server.ledger import Ledger, OwnLedger
from whispergpt.server.observe import logs
from whispergpt.server.settings import Settings
from whispergpt.server.tokens.socket_tokens import SocketTokens

log = logs.get("server.guard")
_ANYBODY = Caller(alone=True)
_NO_TOKEN = "none-needed"
_PORTS = {"http": 80, "https": 443}
KEY_SUBPROTOCOL = "openai-insecure-api-key."
"""Start of a WebSocket subprotocol that carries a key or token, as OpenAI's client for browsers sends it."""
_SETTLE_SECONDS = 2.0
"""Seconds for which a changed file is read again: it may change twice within one tick of the file system's clock."""


class Guard:
    """Knows the keys, follows their file, and tells who calls.

    Args:
        ledger: has what is counted of callers.
        made_key: key that was made for this run, if one was already.

    Raises:
        KeyFileError: the file of keys cannot be used.
    """

    def __init__(self, settings: Settings, ledger: Ledger | None = None, made_key: str | None = None) -> None:
        self._ledger = ledger or OwnLedger()
        self._path, self._origins = settings.keys, frozenset(settings.cors_origins)
        self._stamp: tuple[int, ...] | None = None
        self._settled_at = 0.0
        """Time after which the file is not read again unless it changes."""
        self._keys: dict[str, ApiKey] = {}
        self._callers: dict[str, Caller] = {}
        """Callers by the digest of their key."""
        self.tokens = SocketTokens(settings.token_seconds, settings.seal_key, self._ledger)
        self.made_key: str | None = None
        """Key made for this run, where none is configured and other machines can reach the server."""
        self.open = self._path is None and (settings.open or is_loopback(settings.host))
        """True where no key is asked for."""
        self._own_pages_alone = self.open and not settings.open
        """True where that is because only this machine can reach the server: pages of another host are refused then."""
        if self._path is not None:
            self._stamp, self._keys = _stamp_of(self._path), read_keys(self._path)
            self._settled_at = time.monotonic() + _SETTLE_SECONDS
            if not self._keys:
                raise KeyFileError(
                    f"{self._path} has no keys; `whispergpt keys make NAME --file {self._path}` makes one"
                )
        elif not self.open:
            self.made_key = made_key or make_key()
            self._keys = {digest_of(self.made_key): ApiKey("made-at-start", digest_of(self.made_key))}

    def caller_of(self, connection: HTTPConnection) -> Caller:
        """Return the caller of a connection; this uses a WebSocket's token up.

        Raises:
            ApiError: 401, no key or a wrong one; 403, a page of another origin; 429, too many tokens were used.
        """
        digest = self._let_in(connection)
        if digest is None:
            return _ANYBODY
        caller = self._caller(digest)
        structlog.contextvars.bind_contextvars(key=caller.name)
        return caller

    def caller_with(self, digest: str) -> Caller:
        """Return the caller whose key has this digest, let in earlier; its key may have been taken away since."""
        if self.open:
            return _ANYBODY
        return self._caller(digest) if digest in self._keys else Caller(identity=digest, ledger=self._ledger)

    @property
    def keys(self) -> dict[str, ApiKey]:
        """Return all keys by their digests."""
        self._follow_file()
        return self._keys

    def require_known(self, caller: Caller) -> None:
        """Check that a caller who was let in may go on.

        Raises:
            ApiError: 401, the caller's key was taken away meanwhile, or replaced by one of the same name.
        """
        self._follow_file()
        if not self.open and caller.identity not in self._keys:
            raise _refused("wrong_key", "The key was taken away; what plays may play on, and nothing more.")

    def token_for(self, connection: HTTPConnection) -> str:
        """Return a token that opens one WebSocket for the caller's key.

        Raises:
            ApiError: as ``caller_of``.
        """
        digest = self._let_in(connection)
        return _NO_TOKEN if digest is None else self.tokens.make(digest)

    def announce(self) -> None:
        """Print the key that was made for this run, but not into the logs."""
        if self.made_key is not None:
            sys.stderr.write(
                f"key {self.made_key}\n"
                "    Made for this run, since others can reach this server and no --keys FILE is given.\n"
                "    Send it as `Authorization: Bearer KEY`. `whispergpt keys make` makes lasting ones.\n"
            )
            sys.stderr.flush()

    def _let_in(self, connection: HTTPConnection) -> str | None:
        """Return the digest of the key that opens; None where none is asked for."""
        self._check_origin(connection)
        self._follow_file()
        return None if self.open else self._digest_of(connection)

    def _digest_of(self, connection: HTTPConnection) -> str:
        live = connection.scope["type"] == "websocket"
        scheme, _, named = connection.headers.get("authorization", "").partition(" ")
        key: str | None = named.strip() if scheme.lower() == "bearer" else ""
        if not scheme:
            key = _key_of_subprotocols(connection.scope.get("subprotocols", ())) if live else None
        if key is not None:
            found = digest_of(key)
            if found not in self._keys:  # the clients of OpenAI's API send a token as they send a key
                found = (live and self.tokens.use(key, self._keys)) or ""
            if not found:
                raise _refused("wrong_key", "The key is not known here; send `Authorization: Bearer KEY`.")
            return found
        token = connection.query_params.get("token") if live else None
        if token is not None:
            owner = self.tokens.use(token, self._keys)
            if owner is None:
                told = "The token is used up, too old or not of this server; POST /v1/tokens makes another."
                raise _refused("wrong_token", told)
            return owner
        raise _refused("no_key", "This server asks for a key; send `Authorization: Bearer KEY`.")

    def _caller(self, digest: str) -> Caller:
        key = self._keys[digest]
        caller = self._callers.get(digest)
        if caller is None:
            caller = Caller(key.name, key.streams, key.audio_seconds_a_minute, digest, ledger=self._ledger)
            self._callers[digest] = caller
            self._count_callers()
        return caller

    def _count_callers(self) -> None:
        for caller in self._callers.values():
            caller.alone = len(self._keys) == 1

    def _check_origin(self, connection: HTTPConnection) -> None:
        """Refuse a browser's page of another host, unless the settings name it."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return
        ours = _same_host(origin, connection.headers.get("host", ""))
        if not ours or (self._own_pages_alone and not is_own_name(urlsplit(origin).hostname or "")):
            raise ApiError(
                403,
                "wrong_origin",
                "Pages of that origin may not use this server; WHISPERGPT_CORS_ORIGINS names those that may.",
                close_code=POLICY_VIOLATION,
            )

    def _follow_file(self) -> None:
        """Read the file again if it changed; a broken file changes nothing."""
        if self._path is None:
            return
        stamp, now = _stamp_of(self._path), time.monotonic()
        changed = stamp != self._stamp
        if changed:
            self._stamp, self._settled_at = stamp, now + _SETTLE_SECONDS
        elif now >= self._settled_at or stamp is None:
            return
        try:
            keys = read_keys(self._path)
        except KeyFileError as error:
            if changed:
                log.error("the keys stay as they were", reason=str(error))
            return
        if keys == self._keys:
            return
        self._keys = keys
        for digest, key in keys.items():
            if digest in self._callers:
                self._callers[digest].bound(key.streams, key.audio_seconds_a_minute, key.name)
        self._count_callers()
        log.info("keys read again", keys=len(keys))


def _key_of_subprotocols(offered: Iterable[str]) -> str | None:
    """Return the key or token among the subprotocols that a WebSocket offers."""
    keys = (one.removeprefix(KEY_SUBPROTOCOL) for one in offered if one.startswith(KEY_SUBPROTOCOL))
    return next(keys, None)


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    """Return numbers that change with a file, also where a copy keeps its size and time of modification."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _same_host(origin: str, host: str) -> bool:
    """Return whether a page of ``origin`` is the server's own; either may leave the scheme's default port out."""
    try:
        page = urlsplit(origin)
        default = _PORTS[page.scheme]
        ours = urlsplit(f"{page.scheme}://{host}")
        return (page.hostname, page.port or default) == (ours.hostname, ours.port or default)
    except (ValueError, KeyError):
        return False


def is_own_name(host: str) -> bool:
    """Return whether a host names this machine itself; any other name can be made to lead here (DNS rebinding)."""
    host = host.rstrip(".").lower()
    return is_loopback(host) or host.endswith(".localhost")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _refused(code: str, message: str) -> ApiError:
    return ApiError(401, code, message, close_code=POLICY_VIOLATION)
