"""Every setting of the server. A flag of ``whispergpt serve`` wins over ``WHISPERGPT_<FLAG>`` in the environment."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from whispergpt.engine.config import Dtype
from whispergpt.engine.stream_plan import Pace
from whispergpt.engine.streams.capacity import MOST_LOAD
from whispergpt.server.observe import logs

log = logs.get("server.settings")

_DEVICE = re.compile(r"cpu|cuda(:\d{1,4})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+", re.IGNORECASE)
_CHOSEN = ("auto", "all")
"""Devices that the server chooses itself; they stand alone."""
_MOST_DEVICES = 64
_SESSIONS = 256
_MOST_WORKERS, _MOST_AUTO_WORKERS = 64, 8
_CUDA_DRIVER = Path("/dev/nvidiactl")
"""File that NVIDIA's driver makes on Linux."""
MIB = 1024 * 1024
_PREFIX = "WHISPERGPT_"
_OTHERS = {"WHISPERGPT_CACHE", "WHISPERGPT_API_KEY"}
"""Variables of the engine and of the clients."""


class Settings(BaseSettings):
    """All settings, validated when built: pydantic.ValidationError names the one that does not fit."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65_535, description="0 takes any free port")
    model: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="names, folders or hf://OWNER/NAME[@REVISION], with commas between in the environment; the first "
        "is the default",
    )
    device: str = Field(
        default="auto",
        description="auto, cpu, cuda or cuda:N; several with commas, or all, which is every CUDA device, for an engine "
        "on each",
    )
    dtype: Dtype = Field(default="auto", description="of products; auto is bfloat16 where it is fast, int8 is for CPUs")
    max_streams: int = Field(
        default=64, ge=1, le=4096, description="slots in the batch, for each model, on each engine"
    )
    workers: int | Literal["auto"] = Field(
        default=1,
        description="front-end processes, 1 to 64; auto is 1 for an engine on a CPU, and otherwise half as many as "
        "processors, at most 8",
    )
    max_load: float = Field(
        default=MOST_LOAD,
        ge=0,
        le=1,
        description="share of a frame's time that steps may take before real-time streams wait; 0 for slots alone",
    )
    keys: Path | None = Field(default=None, description="file of API keys, as `whispergpt keys make` writes it")
    open: bool = Field(default=False, description="ask nobody for a key, wherever the server listens")
    open_metrics: bool = Field(default=False, description="ask nobody for a key at /metrics")
    metrics_token_file: Path | None = Field(
        default=None, description="file of a token that opens /metrics, which an open server then asks for too"
    )
    tracing: bool = Field(default=False, description="send OpenTelemetry spans; needs the extra `tracing`")
    token_seconds: float = Field(default=60.0, gt=0, le=3600, description="how long a token of /v1/tokens is good for")
    strict: bool = Field(
        default=False,
        description="fail instead of degrading: a crash of the engine ends the server, and a stream that goes on "
        "elsewhere has the very same samples",
    )

    max_waiting: int = Field(
        default=16, ge=0, le=4096, description="streams that may wait for a slot, for each model, on each engine"
    )
    queue_seconds: float = Field(default=10.0, gt=0, le=600, description="longest wait for a slot")
    prompt_wait_seconds: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="longest wait of a real-time stream's prompt for those of others; a longer one is refused at once",
    )
    retry_after_seconds: int = Field(
        default=5, ge=1, le=3600, description="what Retry-After says when there is no capacity"
    )
    max_sessions: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="open WebSocket sessions; by default 256, or twice max_streams if that is more",
    )
    max_requests: int = Field(default=256, ge=1, le=65_536, description="continuations over HTTP at once")
    max_upload_bytes: int = Field(default=64 * MIB, ge=1024, description="one prompt, as it is sent")
    max_message_bytes: int = Field(default=16 * MIB, ge=1024, description="one WebSocket message")
    upload_memory_bytes: int = Field(
        default=512 * MIB,
        ge=1024,
        description="all prompts, from the arrival of their first byte until they are worked on, together",
    )
    pipelined_memory_bytes: int = Field(
        default=32 * MIB, ge=1024, description="what clients send behind requests that are being answered, together"
    )
    control_memory_bytes: int = Field(
        default=32 * MIB, ge=65_536, description="all control messages that wait to be handled, together"
    )
    feed_seconds: float = Field(default=30.0, ge=3, le=600, description="newest audio that a feed keeps for listeners")
    feed_memory_bytes: int = Field(default=256 * MIB, ge=MIB, description="all feeds together, in all formats")
    max_feed_listeners: int = Field(default=2048, ge=1, le=65_536, description="listeners of one feed at once")
    max_listeners: int = Field(default=4096, ge=1, le=65_536, description="listeners of all feeds at once")
    memory_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of these that one key may take of what other keys leave, and one connection of what its "
        "key's others leave of that; where there is one key or none, connections alone have shares",
    )
    prompt_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="longest time from a prompt's first audio over the WebSocket to its commit",
    )
    upload_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="longest time a request may take to send its body"
    )
    resume_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="signs resume tokens; servers with the same one take each other's streams over",
    )
    limits_store: SecretStr | None = Field(
        default=None,
        description="redis://HOST:PORT/DATABASE, a store by which the replicas of a fleet share the limits of keys; "
        "needs the extra `limits`",
    )
    prompt_cache_bytes: int = Field(
        default=256 * MIB,
        ge=0,
        description="room on each engine for prompts that may be sent again, encoded; 0 for none",
    )
    decode_threads: int = Field(
        default=2, ge=1, le=64, description="threads that write files in their format; as many for live audio"
    )
    decode_processes: int = Field(
        default=2,
        ge=1,
        le=64,
        description="uploads that are decoded at once, and as many that take long; one key has all but one of each",
    )
    decode_seconds: int = Field(default=10, ge=1, le=600, description="processor time that decoding an upload may take")
    decode_memory_bytes: int = Field(
        default=256 * MIB, ge=32 * MIB, description="memory of each decoder, beside the upload itself"
    )
    decode_waiting: int = Field(
        default=256, ge=1, le=65_536, description="uploads that may wait to be decoded, for each key"
    )
    max_stream_seconds: float = Field(
        default=86_400.0, gt=0, le=864_000, description="most seconds a response may be asked for over the WebSocket"
    )

    idle_seconds: float = Field(default=60.0, gt=0, le=86_400, description="silence after which a session is closed")
    pause_seconds: float = Field(default=600.0, gt=0, le=86_400, description="longest pause of a response")
    send_seconds: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="longest wait for a client to take audio, also what waits in the system when all is sent",
    )
    slow_reader: Literal["pause", "drop", "close"] = Field(
        default="pause",
        description="what becomes of a real-time stream whose listener takes nothing: it waits for up to send_seconds, "
        "loses what is late, or is closed",
    )
    slow_seconds: float = Field(
        default=2.0, gt=0, le=4, description="how late `drop` and `close` let a listener be; less than send_seconds"
    )
    send_buffer_bytes: int = Field(default=128 * 1024, ge=4096, description="of each connection, in the system")
    drain_seconds: float = Field(default=30.0, ge=0, le=3600, description="how long SIGTERM lets streams play on")

    start_seconds: float = Field(default=600.0, gt=0, le=86_400, description="longest time the engine may take to load")
    stall_seconds: float = Field(
        default=60.0, ge=3, le=3600, description="silence after which the engine counts as hung"
    )
    restart_min_seconds: float = Field(
        default=0.5, gt=0, le=600, description="first pause before the engine is restarted"
    )
    restart_max_seconds: float = Field(
        default=8.0, gt=0, le=3600, description="longest pause before the engine is restarted"
    )
    command_queue: int = Field(
        default=1024, ge=16, le=1_000_000, description="messages that may wait on the way to the engine"
    )
    event_queue: int = Field(
        default=4096, ge=16, le=1_000_000, description="messages that may wait on the way from the engine"
    )

    cors_origins: Annotated[list[str], NoDecode] = Field(default_factory=list, description="web origins that may call")
    hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="names that requests may come to, without ports, beside localhost; without any, all names, or "
        "localhost alone where the server is open because it listens on loopback",
    )
    log_level: str = Field(default="info", description="debug, info, warning or error")
    log_lines: float = Field(
        default=50.0, ge=0, description="log lines a second of one kind and one key, on average; 0 for no bound"
    )

    @property
    def devices(self) -> list[str]:
        """Return the names in ``device``; ``auto`` or ``all`` stands alone."""
        return self.device.split(",")

    @property
    def most_sessions(self) -> int:
        """Return the number of WebSocket sessions that may be open."""
        return self.max_sessions or max(_SESSIONS, 2 * self.max_streams)

    @property
    def front_ends(self) -> int:
        """Return the number of front-end processes (``workers``)."""
        if self.workers != "auto":
            return self.workers
        on_cuda = "cuda" in self.device or self.device == "all"
        on_cuda |= self.device == "auto" and _CUDA_DRIVER.exists()
        return max(1, min(_MOST_AUTO_WORKERS, (os.cpu_count() or 1) // 2)) if on_cuda else 1

    @property
    def seal_key(self) -> str | None:
        """Return the key of seals (``resume_key``); None for a key of this process alone."""
        return None if self.resume_key is None else self.resume_key.get_secret_value()

    @field_validator("model", "cors_origins", "hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"'{origin}' is not an origin; write it as https://audio.example.org, without a path")
        return value

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, value: list[str]) -> list[str]:
        for host in value:
            if "/" in host:
                raise ValueError(f"'{host}' is not a host's name; write it as audio.example.org")
        return value

    @field_validator("port", mode="before")
    @classmethod
    def _not_of_a_service(cls, value: object) -> object:
        if isinstance(value, str) and value.startswith("tcp://"):
            raise ValueError(f"'{value}' is what Kubernetes says of a Service; give its pods enableServiceLinks: false")
        return value

    @field_validator("workers", mode="before")
    @classmethod
    def _some_workers(cls, value: object) -> object:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if value != "auto" and (not isinstance(value, int) or not 1 <= value <= _MOST_WORKERS):
            raise ValueError(f"there are 1 to {_MOST_WORKERS} workers, or auto, and not {value}")
        if value not in (1, "auto") and sys.platform != "linux":
            raise ValueError("several workers need Linux, where processes can share one port; use 1")
        return value

    @field_validator("open")
    @classmethod
    def _open_or_not(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("keys") is not None:
            raise ValueError("a server with keys is not open; leave one of the two out")
        return value

    @field_validator("resume_key")
    @classmethod
    def _writable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().isprintable():  # which bytes that are not UTF-8 are not
            raise ValueError("a resume key is text without control characters, in UTF-8")
        return value

    @field_validator("slow_seconds")
    @classmethod
    def _before_it_is_given_up(cls, value: float, info: ValidationInfo) -> float:
        most = info.data.get("send_seconds", value + 1)
        if info.data.get("slow_reader", "pause") != "pause" and value >= most:
            raise ValueError(f"a listener is given up after send_seconds, {most:g}; slow_seconds must be less")
        return value

    def patience(self, pace: Pace) -> float | None:
        """Return the seconds that a stream's prompt may wait for those of others; None where there is no limit."""
        return self.prompt_wait_seconds if pace == "realtime" else None

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        if len(names) > _MOST_DEVICES:
            raise ValueError(f"{len(names)} devices are more than {_MOST_DEVICES}")
        numbers = set()
        for name in names:
            if name in _CHOSEN and len(names) > 1:
                raise ValueError(f"'{name}' chooses devices itself; use it alone")
            if name not in _CHOSEN and not _DEVICE.fullmatch(name):
                raise ValueError(f"'{name}' is not a device; use auto, cpu, cuda, cuda:N, several with commas, or all")
            if name.startswith("cuda"):
                number = int(name.partition(":")[2] or 0)
                if number in numbers:
                    raise ValueError(f"'cuda:{number}' is named twice; one engine uses a CUDA device")
                numbers.add(number)
        return ",".join(names)

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError(f"'{value}' is not a log level; use debug, info, warning or error")
        return value.lower()


def variable_for(option: str) -> str | None:
    """Return the variable of a setting that is written as an option, such as ``--queue-seconds``; None for others."""
    name = option.lstrip("-").replace("-", "_")
    return f"{_PREFIX}{name.upper()}" if name in Settings.model_fields else None


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Return variables that look like settings and are none, such as a misspelt one."""
    known = _OTHERS | {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in environment if name.upper().startswith(_PREFIX) and name.upper() not in known)


def warn_of_unknown_variables() -> None:
    """Log a warning for each variable that looks like a setting and is none."""
    known = [f"{_PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in unknown_variables(os.environ):
        near = get_close_matches(name.upper(), known, 1, 0.8)
        log.warning("no setting has this name", variable=name, **({"did_you_mean": near[0]} if near else {}))
