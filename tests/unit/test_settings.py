"""Settings from the environment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from whispergpt.server.settings import Settings, unknown_variables


def test_what_kubernetes_says_of_a_service_is_told_apart_from_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERGPT_PORT", "tcp://10.96.0.17:80")
    with pytest.raises(ValidationError, match="enableServiceLinks: false"):
        Settings()
    monkeypatch.setenv("WHISPERGPT_PORT", "8001")
    assert Settings().port == 8001


def test_variables_that_set_nothing_are_found() -> None:
    known = [f"WHISPERGPT_{name.upper()}" for name in Settings.model_fields]
    assert unknown_variables([*known, "WHISPERGPT_CACHE", "WHISPERGPT_API_KEY", "PATH"]) == []
    assert unknown_variables(["WHISPERGPT_MAX_STREAM", *known]) == ["WHISPERGPT_MAX_STREAM"]
