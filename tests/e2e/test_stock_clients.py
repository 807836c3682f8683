"""Clients that know nothing of this server play a continuation to its end, and hear what ``POST /continue`` makes.

Others are tested elsewhere: ``websockets`` in nearly every file, ``curl --http2`` in ``test_upgrades.py``, an
``<audio>`` element in ``playground/test_page.py``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import av
import numpy as np
import pytest
import requests
from whispergpt_client import Client

from tests.support.audio import SPEECH, pcm_of, samples_of, samples_of_pcm, speech, wav_of_pcm
from tests.support.proxies import AUTHORITY, proxy
from tests.support.tools import require_tool, skip

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "tests" / "support" / "node"
PAGE = (ROOT / "docs" / "realtime.md").read_text()
PROMPT = pcm_of(speech(1.0))
SEED = 7
FORM = {"seconds": "1", "seed": str(SEED), "response_format": "pcm"}
WS = """
import { WebSocket } from "ws";
import { readFileSync, writeFileSync } from "node:fs";
const socket = new WebSocket(process.env.SERVER + "/stream");
const heard = [];
socket.on("open", () => {
  socket.send(JSON.stringify({ type: "session.update", session: { seed: 7 } }));
  socket.send(readFileSync("prompt.wav"));
  socket.send(JSON.stringify({ type: "input_audio_buffer.commit" }));
  socket.send(JSON.stringify({ type: "response.create", response: { seconds: 1 } }));
});
socket.on("message", (message, binary) => {
  if (binary) heard.push(message);
  else if (JSON.parse(message).type === "response.done") {
    writeFileSync("continuation.pcm", Buffer.concat(heard));
    socket.close();
  }
});
"""


@pytest.fixture(scope="module")
def expected(server: str, client: Client) -> bytes:
    """A second of PCM after ``PROMPT``."""
    return client.continue_file(wav_of_pcm(PROMPT), seconds=1, seed=SEED, response_format="pcm").audio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the prompt."""
    (tmp_path / "prompt.pcm").write_bytes(PROMPT)
    (tmp_path / "prompt.wav").write_bytes(wav_of_pcm(PROMPT))
    return tmp_path


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the packages of Node."""
    require_tool("node")
    npm = require_tool("npm")
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(PACKAGES, folder, dirs_exist_ok=True)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    if done.returncode:
        skip(f"npm cannot install the packages: {done.stderr[-1000:]}")
    return folder / "node_modules"


@pytest.fixture(scope="module")
def secure(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """URL of a proxy with TLS in front of the server, and the certificate of its authority."""
    folder = tmp_path_factory.mktemp("caddy")
    with proxy("caddy", server, folder, tls=True) as url:
        yield url, folder / AUTHORITY


def example(language: str, at: int = 0) -> str:
    """A block of the page, for one second."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[at].replace("seconds: 5", "seconds: 1")


def run(command: list[str], folder: Path, **environment: str) -> bytes:
    """Run a client, and return the audio that it wrote."""
    said = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stdout + said.stderr
    return (folder / "continuation.pcm").read_bytes()


def run_node(script: str, folder: Path, modules: Path, **environment: str) -> bytes:
    (folder / "node_modules").symlink_to(modules)
    (folder / "client.mjs").write_text(script)
    return run([require_tool("node"), "client.mjs"], folder, **environment)


def test_openai_for_python(server: str, expected: bytes, folder: Path) -> None:
    code = example("python").replace("http://127.0.0.1:8000", server).replace('"seconds": 5', '"seconds": 1')
    assert run([sys.executable, "-c", code], folder) == expected


def test_openai_for_javascript(secure: tuple[str, Path], expected: bytes, folder: Path, modules: Path) -> None:
    url, authority = secure
    code = example("js").replace("https://audio.example.org", url)
    assert run_node(code, folder, modules, NODE_EXTRA_CA_CERTS=str(authority)) == expected


def test_openai_for_javascript_without_tls(server: str, expected: bytes, folder: Path, modules: Path) -> None:
    code = example("js").replace("https://audio.example.org", server)
    connect = next(line for line in code.splitlines() if line.startswith("const realtime"))
    assert run_node(code.replace(connect, example("js", 1)), folder, modules) == expected


def test_ws(server: str, expected: bytes, folder: Path, modules: Path) -> None:
    assert run_node(WS, folder, modules, SERVER=server.replace("http", "ws", 1)) == expected


async def test_aiohttp(server: str, expected: bytes) -> None:
    async with aiohttp.ClientSession() as session:
        form = aiohttp.FormData({**FORM, "stream": "true"})
        form.add_field("audio", wav_of_pcm(PROMPT), filename="prompt.wav")
        async with session.post(f"{server}/continue", data=form) as answer:
            assert await answer.read() == expected
        heard = b""
        async with session.ws_connect(f"{server}/stream") as socket:
            await socket.send_json({"type": "session.update", "session": {"seed": SEED}})
            await socket.send_bytes(wav_of_pcm(PROMPT))
            await socket.send_json({"type": "input_audio_buffer.commit"})
            await socket.send_json({"type": "response.create", "response": {"seconds": 1}})
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    heard += message.data
                elif json.loads(message.data)["type"] == "response.done":
                    break
        assert heard == expected


def test_requests(server: str, expected: bytes) -> None:
    with requests.post(
        f"{server}/continue",
        data={**FORM, "stream": "true"},
        files={"audio": wav_of_pcm(PROMPT)},
        stream=True,
        timeout=60,
    ) as answer:
        assert b"".join(answer.iter_content(4_096)) == expected


@pytest.fixture
def address(server: str) -> str:
    """URL that plays a second after ``SPEECH``."""
    with SPEECH.open("rb") as prompt:
        form = {"seconds": "1", "seed": str(SEED), "response_format": "flac"}
        made = requests.post(f"{server}/v1/play", data=form, files={"audio": prompt}, timeout=60).json()
    return server + str(made["url"])


def test_ffmpeg_reads_an_address(address: str, client: Client) -> None:
    """FFmpeg's own HTTP, as many players use it."""
    with av.open(address) as sound:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in sound.decode(audio=0)])
    whole = client.continue_file(SPEECH, seconds=1, seed=SEED)
    assert heard.tolist() == samples_of(whole.audio).tolist()


def test_ffplay(address: str, client: Client, tmp_path: Path) -> None:
    """What ``ffplay`` sends to the sound card; SDL's ``disk`` driver writes it to a file. It exits before the card has
    played its last tenth of a second."""
    played = tmp_path / "played.pcm"
    card = {"SDL_AUDIODRIVER": "disk", "SDL_DISKAUDIOFILE": str(played), "SDL_AUDIO_DISK_OUTPUT_FILE": str(played)}
    command = [require_tool("ffplay"), "-v", "error", "-nodisp", "-autoexit", address]
    subprocess.run(command, env=os.environ | card, check=True, capture_output=True, timeout=60)
    whole = client.continue_file(SPEECH, seconds=1, seed=SEED, response_format="pcm")
    # Where it is late itself, on a busy machine, it plays zeros in between.
    heard, made = (audio[audio != 0] for audio in map(samples_of_pcm, (played.read_bytes(), whole.audio)))
    assert (heard == made[: len(heard)]).all() and len(heard) >= 0.9 * len(made)
