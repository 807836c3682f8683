"""The multipart form of ``POST /continue``, read within its bounds and checked field by field."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, get_args

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from whispergpt.engine.audio.audio_file import READABLE
from whispergpt.server.admission.admission import UploadMeter
from whispergpt.server.audio.encoders import Format
from whispergpt.server.errors import ApiError, bad_value
from whispergpt.server.http.continuation_schema import FORM_FIELDS
from whispergpt.server.parameters import DEFAULT_SECONDS, Wishes, check_wishes, frames_for, number, truth, whole_number
from whispergpt.server.settings import Settings

_FORMATS: tuple[Format, ...] = get_args(Format)
_MAX_FIELD_BYTES = 4096
_MAX_FIELDS = 64
_MAX_CONTENT_TYPE = 512
"""Characters of the request's Content-Type: the time that its parser takes grows with their square."""
_MAX_DISPOSITION = 1024
"""Bytes of a part's Content-Disposition, for the same reason."""
_ALIASES: dict[str, Format] = {"ogg": "opus"}
_QUOTED = re.compile(rb'"(?:\\.|[^"\\])*"')
_EXTENDED_NAME = re.compile(rb";\s*filename\*[0-9*]*\s*=", re.IGNORECASE)


@dataclass(frozen=True)
class ContinueForm:
    """A checked form without its recording, of which ``audio_sha256`` is the SHA-256."""

    frames: int
    audio_sha256: str
    wishes: Wishes = field(default_factory=Wishes)
    model: str | None = None
    include_prompt: bool = False
    response_format: Format = "wav"
    stream: bool = False


class Upload(NamedTuple):
    """A checked form, and its recording as a file in memory, not yet decoded."""

    form: ContinueForm
    audio: BinaryIO


class _InMemoryParser(MultiPartParser):
    # 0 never spills to disk: prompts are never stored. UploadMeter bounds the memory.
    spool_max_size = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sha256 = hashlib.sha256()
        """Hash of the bytes of files; a form that is accepted has one file alone."""

    @property
    def field_name(self) -> str:
        """Return the name of the field being read."""
        return self._current_part.field_name

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take a part's data, and hash a file's."""
        super().on_part_data(data, start, end)
        if self._current_part.file is not None:
            self.sha256.update(memoryview(data)[start:end])

    def on_headers_finished(self) -> None:
        """Read a part as a file also if its file name has the extended form alone (``filename*=``)."""
        part = self._current_part
        disposition = part.content_disposition or b""
        if len(disposition) > _MAX_DISPOSITION:
            raise MultiPartException(f"A Content-Disposition is longer than {_MAX_DISPOSITION} bytes.")
        if (
            _EXTENDED_NAME.search(_QUOTED.sub(b"", disposition))
            and b"filename" not in parse_options_header(disposition)[1]
        ):
            part.content_disposition = disposition + b'; filename="file"'  # no name is used
        super().on_headers_finished()


async def read_form(request: Request, meter: UploadMeter, settings: Settings) -> Upload:
    """Read and check the form.

    Raises:
        ApiError: 400 a field is missing, unknown or unusable; 413 the body is too large; 408 it came too slowly.
        ClientDisconnect: the client left before the body's end.
    """
    if request.query_params:
        name = next(iter(request.query_params))
        raise bad_value(name[:100], "Parameters go into the form, not into the URL.", "unknown_field")
    content_type = request.headers.get("content-type", "")
    if len(content_type) > _MAX_CONTENT_TYPE:
        raise bad_value(None, f"The Content-Type is longer than {_MAX_CONTENT_TYPE} characters.", "bad_form")
    if not content_type.lower().startswith("multipart/form-data"):
        told = (
            "The body must be multipart/form-data with a file in the field 'audio', as `curl -F audio=@FILE` sends it."
        )
        raise bad_value("audio", told, "not_a_form")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise bad_value(None, "The body must not be compressed; send it without Content-Encoding.", "bad_form")
    if _charset(request) not in ("utf-8", "utf8", "us-ascii"):
        raise bad_value(None, "The form's text must be UTF-8; leave the charset out.", "bad_form")
    claimed = request.headers.get("content-length", "")
    if claimed.isascii() and claimed.isdigit() and int(claimed[:18]) > settings.max_upload_bytes:
        meter.add(int(claimed[:18]))  # refuses: no need to read what cannot fit
    parser = _InMemoryParser(
        request.headers,
        _metered(request, meter),
        max_files=_MAX_FIELDS,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        async with asyncio.timeout(settings.upload_seconds):
            form = await parser.parse()
    except (MultiPartException, FormParserError) as error:  # starlette before 1.0 passes the parser's own errors on
        if "Part exceeded" in str(error):
            name = parser.field_name[:100]
            if name == "audio":
                raise _no_file_name() from None
            raise bad_value(name, f"The field '{name}' is longer than {_MAX_FIELD_BYTES} bytes.") from None
        remedy = "let the HTTP library write the Content-Type, whose boundary is that of the body"
        raise bad_value(None, f"The form cannot be read: {str(error).rstrip('.')}; {remedy}.", "bad_form") from None
    except TimeoutError:
        raise ApiError(
            408, "upload_timeout", f"The body did not arrive within {settings.upload_seconds:g} s.", "audio"
        ) from None
    return _check_form(form.multi_items(), parser.sha256.hexdigest())


def _no_file_name() -> ApiError:
    told = "The field 'audio' must be a file, and its part has no file name: curl sends one with @, not with <."
    return bad_value("audio", told, "not_a_file")


def _charset(request: Request) -> str:
    _, options = parse_options_header(request.headers.get("content-type"))
    return options.get(b"charset", b"utf-8").decode("latin-1").lower()


async def _metered(request: Request, meter: UploadMeter) -> AsyncGenerator[bytes, None]:
    async for chunk in request.stream():
        meter.add(len(chunk))
        yield chunk


def _check_form(items: list[tuple[str, UploadFile | str]], audio_sha256: str) -> Upload:
    texts: dict[str, str] = {}
    audio: UploadFile | None = None
    for name, value in items:
        if name not in FORM_FIELDS:
            raise bad_value(
                name[:100], f"There is no field '{name[:100]}'; there is {', '.join(FORM_FIELDS)}.", "unknown_field"
            )
        if name in texts or (name == "audio" and audio is not None):
            raise bad_value(name, f"The field '{name}' is given twice; send it once.", "repeated_field")
        if name == "audio":
            if isinstance(value, str):
                raise _no_file_name()
            audio = value
        elif isinstance(value, str):
            texts[name] = value
        else:
            raise bad_value(name, f"The field '{name}' must be text, not a file.")
    if audio is None:
        raise bad_value("audio", f"The field 'audio' is missing: send a file; {READABLE} are read.", "missing_field")
    # An HTML form sends empty fields too.
    texts = {name: value for name, value in texts.items() if value.strip()}
    wishes = Wishes(
        seed=whole_number(texts["seed"], "seed") if "seed" in texts else None,
        temperature=number(texts["temperature"], "temperature") if "temperature" in texts else None,
        top_k=whole_number(texts["top_k"], "top_k") if "top_k" in texts else None,
        top_p=number(texts["top_p"], "top_p") if "top_p" in texts else None,
    )
    check_wishes(wishes)
    seconds = number(texts["seconds"], "seconds") if "seconds" in texts else DEFAULT_SECONDS
    form = ContinueForm(
        frames=frames_for(seconds),
        audio_sha256=audio_sha256,
        wishes=wishes,
        model=texts.get("model"),
        include_prompt=truth(texts.get("include_prompt", "false"), "include_prompt"),
        response_format=format_named(texts.get("response_format", "wav"), "response_format"),
        stream=truth(texts.get("stream", "false"), "stream"),
    )
    return Upload(form, audio.file)


def format_named(text: str, param: str) -> Format:
    """Return an output format by its name, in any case.

    Raises:
        ApiError: 400, there is none, naming ``param``.
    """
    wanted = text.strip().lower()
    for known in _FORMATS:
        if known == _ALIASES.get(wanted, wanted):
            return known
    raise bad_value(param, f"{param} must be {', '.join(_FORMATS)}, not '{text[:40]}'.")
