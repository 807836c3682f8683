"""The two pages for people: the playground and the documentation. They load nothing from other hosts."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

_STATIC = Path(__file__).parent / "static"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self' blob:; connect-src 'self' ws: wss:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def playground() -> FileResponse:
    """Record or choose a file, hear it go on."""
    return FileResponse(_STATIC / "index.html", headers=_HEADERS)


@router.get("/docs")
async def docs() -> FileResponse:
    """The HTTP interface, drawn from /openapi.json, and the WebSocket's messages."""
    return FileResponse(_STATIC / "docs.html", headers=_HEADERS)
