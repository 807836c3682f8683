"""nginx and Caddy in front of a server, configured as ``docs/proxies.md`` says, but for names, ports and TLS."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.ports import free_port
from tests.support.tools import require_tool
from tests.support.waiting import wait_until

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "proxies.md"
AUTHORITY = "caddy/pki/authorities/local/root.crt"
_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {rest}
}}
"""


@contextmanager
def proxy(name: str, server: str, folder: Path, tls: bool = False, under_path: bool = False) -> Iterator[str]:
    """Run ``nginx`` or ``caddy`` in front of ``server``; gives the proxy's URL. Skips where it is not installed.

    Args:
        name: of the program.
        server: URL.
        folder: for the proxy's files.
        tls: speak TLS, which Caddy alone does; its authority's certificate is ``folder / AUTHORITY``.
        under_path: serve below the path that the page names, which nginx does.
    """
    tool = require_tool(name)
    port = free_port()
    url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    text, there = _documented(name), urlsplit(server).netloc
    if under_path:
        head, locations = text[: text.index("    location")], _documented(name, "## Under a path")
        text = head + locations + text[text.index("\n}\n") :]
    assert "127.0.0.1:8000" in text
    text = text.replace("127.0.0.1:8000", there)
    if name == "nginx":
        text = re.sub(r"listen 443 ssl;", f"listen 127.0.0.1:{port};", text)
        text = re.sub(r"ssl_certificate.*\n", "\n", text).replace("/var/log/nginx", str(folder))
        file = folder / "nginx.conf"
        file.write_text(_NGINX.format(folder=folder, rest=text))
        command = [tool, "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    else:
        file = folder / "Caddyfile"
        https = f"storage file_system {folder}/caddy\n    skip_install_trust\n    auto_https disable_redirects"
        options = f"{{\n    admin off\n    {https if tls else 'auto_https off'}\n}}\n"
        if tls:
            text = text.replace("audio.example.org {", f"{url} {{\n    tls internal\n    bind 127.0.0.1")
        file.write_text(options + text.replace("audio.example.org", url))
        command = [tool, "run", "--config", str(file), "--adapter", "caddyfile"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        wait_until(lambda: process.poll() is not None or _answers(port), f"{name} listens")
        assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _documented(name: str, heading: str = "") -> str:
    found = re.search(rf"{heading}.*?```{name}\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found, f"{_PAGE} has no block of {name}"
    return found[1]


def _answers(port: int) -> bool:
    with socket.socket() as wire:
        return wire.connect_ex(("127.0.0.1", port)) == 0
