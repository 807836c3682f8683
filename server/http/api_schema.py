"""The OpenAPI schema of one server: what its routes declare, with its form, its security and its examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI

from whispergpt.server.http.call_examples import Call, call_examples
from whispergpt.server.http.continuation_schema import continue_form
from whispergpt.server.http.refusals import example_of
from whispergpt.server.services import Services, services_of

_WEBSOCKET = Path(__file__).parents[1] / "static" / "docs" / "websocket.md"
_INTRODUCTION = (
    "Continues a recording, live: an audio prompt in, its continuation out, over HTTP or the WebSocket `/stream`.\n\n"
    'Every error, on every status, has the form `{"error": {"type", "code", "message", "param"}}`; `param` names the '
    "field at fault or is null.\n\n"
)
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of this server: `whispergpt keys make NAME` makes one.",
}
_REQUEST_ID = {"description": "Name of the request in the logs.", "schema": {"type": "string"}}
_FORMS: dict[str, dict[str, str]] = {
    "/continue": {"seconds": "5", "seed": "7"},
    "/v1/play": {"seconds": "5", "response_format": "mp3"},
}
_ANSWERS = {
    "POST /continue": "continuation.wav",
    "GET /v1/play": "continuation.mp3",
    "GET /v1/streams/{token}/audio": "stream.wav",
    "GET /metrics": "text",
}
_KEYED = ("POST /continue", "POST /v1/play", "GET /v1/models", "POST /v1/tokens", "GET /metrics")
"""Calls that need a key where the server has keys."""


class DescribedApp(FastAPI):
    """App whose schema says what this server has and asks for: its models, and a key where it has keys."""

    _described_models: tuple[str, ...] = ()

    def openapi(self) -> dict[str, Any]:
        services = services_of(self)
        # No model is known before an engine is ready; while one restarts, the models stay as they were.
        models = tuple(services.engines.models) if services.engines.state == "ready" else self._described_models
        if self.openapi_schema is None or models != self._described_models:
            self.openapi_schema = None
            self.openapi_schema = _completed(super().openapi(), services, models)
            self._described_models = models
        return self.openapi_schema


def _completed(schema: dict[str, Any], services: Services, models: tuple[str, ...]) -> dict[str, Any]:
    schema["info"]["description"] = _INTRODUCTION + _WEBSOCKET.read_text()
    schema["components"]["schemas"]["ContinueForm"] = continue_form(models)
    any_keyed = False
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            keyed = _is_keyed(f"{method.upper()} {path}", services)
            any_keyed = any_keyed or keyed
            operation["security"] = [{"Bearer": []}] if keyed else []
            if services.guard.open and not keyed:
                operation["responses"].pop("401", None)
            operation["responses"] = dict(sorted(operation["responses"].items()))
            for status, answer in operation["responses"].items():
                answer.setdefault("headers", {})["X-Request-Id"] = _REQUEST_ID
                if int(status) >= 400:
                    answer["content"]["application/json"]["example"] = example_of(int(status))
            operation["x-codeSamples"] = call_examples(_example(method.upper(), path, keyed))
    if any_keyed:
        schema["components"]["securitySchemes"] = {"Bearer": _BEARER}
    return schema


def _is_keyed(call: str, services: Services) -> bool:
    settings = services.settings
    if call == "GET /metrics":
        return not settings.open_metrics and (settings.metrics_token_file is not None or not services.guard.open)
    return call in _KEYED and not services.guard.open


def _example(method: str, path: str, keyed: bool) -> Call:
    fields = _FORMS.get(path) if method == "POST" else None
    query = "?token=TOKEN" if (method, path) == ("GET", "/v1/play") else ""
    return Call(
        method, path.replace("{token}", "TOKEN") + query, keyed, fields, _ANSWERS.get(f"{method} {path}", "json")
    )
