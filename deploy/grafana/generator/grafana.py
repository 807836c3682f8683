"""Writer of dashboards in the format of Grafana's provisioning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Unit

_TAG = "whispergpt"
_SOURCE = {"type": "prometheus", "uid": "prometheus"}
"""Data source as named in deploy/grafana/provisioning/datasources."""
_WIDTH = 24
_NUMBER_HEIGHT, _COURSE_HEIGHT, _COURSE_WIDTH = 4, 8, 8
_DECIMALS: dict[Unit, int] = {"percentunit": 0}


def write(dashboard: Dashboard, folder: Path) -> Path:
    """Write ``<name>.json`` into an existing folder, and return its path."""
    path = folder / f"{dashboard.name}.json"
    path.write_text(as_json(dashboard))
    return path


def as_json(dashboard: Dashboard) -> str:
    """Return the text of a dashboard's file."""
    page = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": [_TAG],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [
            {"type": "dashboards", "title": "WHISPER-GPT", "tags": [_TAG], "includeVars": True, "keepTime": True}
        ],
        "templating": {"list": [_model_variable()]},
        "panels": list(_panels(dashboard)),
    }
    return json.dumps(page, indent=1, ensure_ascii=False) + "\n"


def _model_variable() -> dict[str, Any]:
    query = "label_values(whispergpt_slots, model)"
    return {
        "name": "model",
        "type": "query",
        "label": "Model",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "model"},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    for place, panel in enumerate(dashboard.numbers):
        width = _WIDTH // len(dashboard.numbers)
        where = {"x": place * width, "y": 0, "w": width, "h": _NUMBER_HEIGHT}
        yield _panel(panel, place + 1, where) | _number(panel)
    for place, panel in enumerate(dashboard.courses):
        row, column = divmod(place, _WIDTH // _COURSE_WIDTH)
        top = _NUMBER_HEIGHT + row * _COURSE_HEIGHT
        where = {"x": column * _COURSE_WIDTH, "y": top, "w": _COURSE_WIDTH, "h": _COURSE_HEIGHT}
        yield _panel(panel, len(dashboard.numbers) + place + 1, where) | _course(panel)


def _panel(panel: Panel, number: int, where: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": letter, "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend}
        for letter, query in zip(ascii_uppercase, panel.queries, strict=False)
    ]
    return {
        "id": number,
        "title": panel.title,
        "description": panel.says,
        "datasource": _SOURCE,
        "gridPos": where,
        "targets": targets,
    }


def _number(panel: Panel) -> dict[str, Any]:
    return {
        "type": "stat",
        "fieldConfig": {"defaults": _scale(panel, "green"), "overrides": []},
        "options": {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}},
    }


def _course(panel: Panel) -> dict[str, Any]:
    style = {
        "lineWidth": 1,
        "fillOpacity": 8,
        "showPoints": "never",
        "axisSoftMin": 0,
        "thresholdsStyle": {"mode": "dashed"},
    }
    return {
        "type": "timeseries",
        "fieldConfig": {"defaults": _scale(panel, "transparent") | {"custom": style}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _scale(panel: Panel, below: str) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": below, "value": None}]
    if panel.bound is not None:
        steps.append({"color": "red", "value": panel.bound})
    decimals = {"decimals": _DECIMALS[panel.unit]} if panel.unit in _DECIMALS else {}
    return {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}} | decimals
