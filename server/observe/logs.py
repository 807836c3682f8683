"""Structured logs on stderr: JSON, or a readable form on a terminal; every line of a request bears its id."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from whispergpt.server.observe.line_limit import LineLimit


def configure(level: str = "info", lines_a_second: float = 0.0, worker: str | None = None) -> None:
    """Send the logs of the server, of uvicorn and of every library through one formatter to stderr.

    Args:
        lines_a_second: of one kind and one key, on average; 0 for no bound.
        worker: named in every line, where the server has several front ends.
    """

    def name_worker(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if worker is not None:
            event["worker"] = worker
        return event

    shared: list[Processor] = [
        name_worker,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    terminal = sys.stderr.isatty()
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.PositionalArgumentsFormatter(), _plain_message],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    if lines_a_second:
        handler.addFilter(LineLimit(lines_a_second))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # The server logs one line for each request, with its id and outcome; uvicorn's would repeat it.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, getattr(logging, level.upper())))


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; its events are short phrases, its facts keyword arguments."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _plain_message(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # uvicorn adds a second, coloured form of each message.
    event.pop("color_message", None)
    return event
