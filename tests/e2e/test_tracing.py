"""Spans reach a collector, in a tree under the caller's own span; metrics and logs name the same trace."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from whispergpt_client import Client

from tests.support.audio import SPEECH
from tests.support.http import HTTP
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        spans: list[Span] = []
        self.spans = spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def process(collector: Collector) -> Iterator[ServerProcess]:
    environment = {
        "WHISPERGPT_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    with ServerProcess(environment=environment) as process:
        yield process


def tree(spans: list[Span], name: str) -> dict[str, str]:
    """Each span's name and its parent's, of the trace in which a span is called ``name``."""
    (trace,) = {span.trace_id for span in spans if span.name == name}
    own = [span for span in spans if span.trace_id == trace]
    names = {span.span_id: span.name for span in own}
    return {span.name: names.get(span.parent_span_id, span.parent_span_id.hex()) for span in own}


def test_a_post_is_traced(process: ServerProcess, collector: Collector) -> None:
    traceparent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    answer = HTTP.post(
        f"{process.url}/continue", files={"audio": SPEECH.read_bytes()}, data={"seconds": 0.5}, headers=traceparent
    )
    assert answer.status_code == 200
    wait_until(lambda: any(s.name == "POST /continue" for s in collector.spans), "the spans are there", seconds=30)
    assert tree(collector.spans, "POST /continue") == {
        "POST /continue": PARENT,
        "decode": "POST /continue",
        "prompt": "POST /continue",
        "encode": "prompt",
        "prefill": "prompt",
        "queue": "POST /continue",
        "first_audio": "POST /continue",
    }
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    by_name = {span.name: span for span in collector.spans}
    whole, first = by_name["POST /continue"], by_name["first_audio"]
    assert whole.start_time_unix_nano <= first.start_time_unix_nano <= first.end_time_unix_nano
    assert first.end_time_unix_nano <= whole.end_time_unix_nano
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in collector.spans)
    assert TRACE in process.log()
    plain = HTTP.get(f"{process.url}/metrics")
    assert TRACE not in plain.text and plain.headers["content-type"].startswith("text/plain")
    linked = HTTP.get(f"{process.url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    found = re.findall(rf'time_to_first_audio_seconds_bucket.*# {{trace_id="{TRACE}"}}', linked.text)
    assert len(found) == 1 and linked.text.endswith("# EOF\n")


def test_a_response_over_the_socket_is_traced(process: ServerProcess, collector: Collector) -> None:
    with Client(process.url) as client:
        b"".join(client.stream(SPEECH, seconds=0.5))
    wait_until(lambda: any(s.name == "WEBSOCKET /stream" for s in collector.spans), "the spans are there", seconds=30)
    assert tree(collector.spans, "response") == {
        "WEBSOCKET /stream": "",
        "prompt": "WEBSOCKET /stream",
        "encode": "prompt",
        "prefill": "prompt",
        "response": "WEBSOCKET /stream",
        "queue": "response",
        "first_audio": "response",
    }


def test_nothing_else_is_traced(process: ServerProcess, collector: Collector) -> None:
    before = len(collector.spans)
    for path in ("/metrics", "/health/ready", "/v1/models"):
        assert HTTP.get(process.url + path).status_code == 200
    process.terminate()
    assert process.wait() == 0
    assert len(collector.spans) == before
