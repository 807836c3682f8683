"""A small Hugging Face Hub on loopback: the routes that ``huggingface_hub`` calls to look up, fetch and push models."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

TOKEN = "hf_of_the_tests"
"""The token that may read private repositories, and write."""


@dataclass
class Repository:
    """Commits by their hash, each with its files; ``main`` is the last."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    page: dict[str, Any] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add files to a branch, and return the new commit."""
        whole = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        digest = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()
        self.commits[digest] = whole
        self.branches[branch] = digest
        return digest

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)


class Hub:
    """What the hub holds, and what it was asked.

    Attributes:
        url: its address, for ``HF_ENDPOINT``.
        asked: method and path of each request.
        damaged: files by name that are sent with their last byte changed.
        claimed: sizes in bytes that are told of files, instead of the true ones.
        status: if set, every request is answered with it.
        plain_tags: whether the entity tags say nothing of the content.
    """

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.damaged: set[str] = set()
        self.claimed: dict[str, int] = {}
        self.status: int | None = None
        self.plain_tags = False

    def add(self, name: str, folder: Path, **properties: bool) -> str:
        """Make a repository of a folder's files, and return its commit."""
        self.repositories[name] = Repository(**properties)
        return self.repositories[name].commit({path.name: path.read_bytes() for path in folder.iterdir()})


@contextmanager
def hub_for_this_process(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """Give a hub that this process asks, with no token and an empty cache in the folder."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, file in {"HF_HUB_CACHE": "cache", "HF_TOKEN_PATH": "token", "AGENT_HARNESSES_PATH": "harnesses"}.items():
        monkeypatch.setattr(constants, name, str(folder / file))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # another service, which the hub names
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Give a hub that answers until the end."""
    hub = Hub()

    class Answer(_Answer):
        held = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Answer(BaseHTTPRequestHandler):
    held: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_GET(self) -> None:
        self._route("GET")

    def do_PUT(self) -> None:
        self._route("PUT")

    def do_POST(self) -> None:
        self._route("POST")

    def _route(self, method: str) -> None:
        body = self._body()
        path = self.path.partition("?")[0]
        self.held.asked.append((method, path))
        if self.held.status is not None:
            return self._send(self.held.status, {"error": "the hub is tired"})
        for verb, pattern, answer in _ROUTES:
            if method in verb and (found := re.fullmatch(pattern, path)):
                return answer(self, *found.groups(), body)
        return self._send(404, {"error": f"no route {method} {path}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: Any = b"", **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        told = {"Content-Length": str(len(data)), **{name.replace("_", "-"): value for name, value in headers.items()}}
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _repository(self, name: str) -> Repository | None:
        """Return a repository that the token may read; else answer as the hub does."""
        repository = self.held.repositories.get(name)
        if self._token not in (None, TOKEN):
            self._send(401, {"error": "Invalid"}, X_Error_Message="Invalid credentials in Authorization header")
        elif repository is None or (repository.private and self._token is None):
            self._send(401 if self._token is None else 404, {"error": "?"}, X_Error_Code="RepoNotFound")
        elif repository.gated and self._token is None:
            self._send(401, {"error": "gated"}, X_Error_Code="GatedRepo")
        else:
            return repository
        return None

    def _writable(self) -> bool:
        if self._token is None:
            self._send(401, {"error": "Unauthorized"})
        elif self._token != TOKEN:
            self._send(403, {"error": "Forbidden"}, X_Error_Message="You don't have the rights")
        return self._token == TOKEN

    def _info(self, name: str, revision: str | None, _: bytes) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        commit = repository.resolve((revision or "main").replace("%2F", "/"))
        if commit is None:
            self._send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        else:
            files = [{"rfilename": file} for file in repository.commits[commit]]
            self._send(200, {"id": name, "modelId": name, "sha": commit, "siblings": files, "tags": []})

    def _resolve(self, name: str, revision: str, file: str, _: bytes) -> None:
        repository = self._repository(name)
        if repository is None:
            return None
        commit = repository.resolve(revision.replace("%2F", "/"))
        if commit is None:
            return self._send(404, X_Error_Code="RevisionNotFound")
        content = repository.commits[commit].get(file)
        if content is None:
            return self._send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        large = file.endswith(".safetensors")
        git, sha256 = _digests(content)
        tag = sha256 if large else git
        if self.held.plain_tags:
            tag = f"tag-{tag[:8]}"
        told = {"X_Repo_Commit": commit, "ETag": f'"{git}"'}
        size = str(self.held.claimed.get(file, len(content)))
        if not large:
            return self._send(200, content, **told | {"ETag": f'"{tag}"', "Content_Length": size})
        self.held.blobs[tag] = content[:-1] + bytes([content[-1] ^ 1]) if file in self.held.damaged else content
        storage = f"http://localhost:{self.server.server_address[1]}/storage/{tag}"  # another host than the hub's
        return self._send(302, Location=storage, X_Linked_ETag=f'"{tag}"', X_Linked_Size=size, **told)

    def _stored(self, digest: str, _: bytes) -> None:
        assert self._token is None, "the token was sent to another host"
        self._send(200, self.held.blobs[digest])

    def _create(self, body: bytes) -> None:
        if not self._writable():
            return None
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if name in self.held.repositories:
            return self._send(409, {"error": "You already created this model repo"})
        self.held.repositories[name] = Repository(private=asked.get("visibility") == "private")
        return self._send(200, {"url": f"{self.held.url}/{name}", "name": name, "id": name})

    def _validate(self, _: bytes) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def _preupload(self, name: str, _revision: str, body: bytes) -> None:
        if not self._writable():
            return
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._send(200, {"files": files})

    def _batch(self, name: str, body: bytes) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.held.url}/storage/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _store(self, digest: str, body: bytes) -> None:
        assert hashlib.sha256(body).hexdigest() == digest
        self.held.blobs[digest] = body
        self._send(200)

    def _commit(self, name: str, revision: str, body: bytes) -> None:
        if not self._writable():
            return
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.held.blobs[value["oid"]]
        commit = self.held.repositories[name].commit(files, revision)
        told = {"commitUrl": f"{self.held.url}/{name}/commit/{commit}", "commitOid": commit, "success": True}
        self._send(200, told)


@cache
def _digests(content: bytes) -> tuple[str, str]:
    """Return a file's digest as git makes it, and its SHA-256."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), hashlib.sha256(content).hexdigest()


_NAME, _REVISION = r"([\w.-]+/[\w.-]+)", r"([\w.%-]+)"
_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", f"/api/models/{_NAME}(?:/revision/{_REVISION})?", _Answer._info),
    ("HEAD GET", f"/{_NAME}/resolve/{_REVISION}/(.+)", _Answer._resolve),
    ("GET", r"/storage/([\w-]+)", _Answer._stored),
    ("POST", "/api/repos/create", _Answer._create),
    ("POST", "/api/validate-yaml", _Answer._validate),
    ("POST", f"/api/models/{_NAME}/preupload/{_REVISION}", _Answer._preupload),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", _Answer._batch),
    ("PUT", r"/storage/([0-9a-f]{64})", _Answer._store),
    ("POST", f"/api/models/{_NAME}/commit/{_REVISION}", _Answer._commit),
]
