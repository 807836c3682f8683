"""The playground, the documentation page, and their files; nothing comes from other hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from whispergpt.engine.checkpoints.installed import INSTALLED

_STATIC = Path(__file__).parents[1] / "static"
_TEXTS = {
    "use-policy": _STATIC / "USE_POLICY.md",
    "speech": INSTALLED / "speech" / "MODEL_CARD.md",
    "piano": INSTALLED / "piano" / "MODEL_CARD.md",
}
"""Texts that /about links, by their names below it."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'self' blob:; connect-src 'self' ws: wss:; img-src 'self' data:",
    "Cache-Control": "no-cache",
}


class _FreshFiles(StaticFiles):
    """Files that browsers ask for anew each time: a page does not work with a script of another version."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = _HEADERS["Cache-Control"]
        return response


router = APIRouter(include_in_schema=False)
files = _FreshFiles(directory=_STATIC)
"""The playground's script, style and prompts, at /static."""


@router.get("/")
async def playground() -> FileResponse:
    """Send the playground."""
    return FileResponse(_STATIC / "index.html", headers=_HEADERS)


@router.get("/about")
async def about() -> FileResponse:
    """Send the page that says what the models can do, how they work, and what they may be used for."""
    return FileResponse(_STATIC / "about.html", headers=_HEADERS)


@router.get("/about/{name}")
async def text(name: str) -> FileResponse:
    """Send the use policy or a model card, as they are written. Raises ``HTTPException`` 404 for other names."""
    if name not in _TEXTS:
        raise HTTPException(404)
    return FileResponse(_TEXTS[name], media_type="text/plain; charset=utf-8", headers=_HEADERS)


@router.get("/docs")
async def docs() -> FileResponse:
    """Send the page that shows the calls of /openapi.json, each to be tried, and the WebSocket's messages."""
    return FileResponse(_STATIC / "docs.html", headers=_HEADERS)
