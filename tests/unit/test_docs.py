"""The documentation: the site builds without a warning, and what the pages name is there."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
import soundfile
import torch
from markdown_it import MarkdownIt
from markdown_it.token import Token

import whispergpt
from whispergpt.cli.main import COMMANDS
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.model.streaming import State, branch, leaf, state_bytes
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.session.events import ClientEvent, InputFields, OutputFields, ResponseFields, SessionFields
from whispergpt.server.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_PATTERNS = ("*.md", "docs/**/*.md", "clients/*/*.md", "training/recipes/*.md", "engine/models/*/*.md", "examples/*.md")
PAGES = [page for pattern in _PATTERNS for page in sorted(ROOT.glob(pattern))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=NAMES)
PLACEHOLDER = re.compile(r".*[$…<>*].*|[A-Z][A-Z_]*|\.\.\.")
"""What stands for something in a command line, such as FILE."""
BEFORE = re.compile(r"[();<>|&]+|do|then|\w+=.*")
"""What may stand before a command."""


@cache
def tokens(page: Path) -> list[Token]:
    """All of a page, the parts of its lines included."""
    parsed = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    return [part for token in parsed for part in (token, *(token.children or []))]


def blocks(page: Path, language: str) -> Iterator[str]:
    """The page's code in a language."""
    return (token.content for token in tokens(page) if token.type == "fence" and token.info == language)


@cache
def anchors(page: Path) -> set[str]:
    """Of its headings, as Git hosts make them."""
    found: set[str] = set()
    for before, token in zip(tokens(page), tokens(page)[1:], strict=False):
        if before.type == "heading_open":
            text = "".join(part.content for part in token.children or [] if part.type in ("text", "code_inline"))
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return found


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (ROOT / "site").exists()
    built = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    for name, html in built.items():
        elsewhere = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>", html)
        assert not [tag for tag in elsewhere if 'rel="canonical"' not in tag], name
        assert "generated:" not in html, name
    assert all(f"WHISPERGPT_{name.upper()}" in built["operating.html"] for name in Settings.model_fields)
    assert "POST /continue" in built["http.html"] and "GET /v1/play" in built["http.html"]
    assert all(f"whispergpt {name}" in built["commands.html"] for name in COMMANDS)
    assert 'id="whispergpt.engine.engine.Engine.step"' in built["api/engine.html"]
    assert 'id="whispergpt_client.Client.stream"' in built["api/client.html"]


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for token in tokens(page):
        address = token.attrGet("href" if token.type == "link_open" else "src") if token.nesting >= 0 else None
        if not isinstance(address, str) or re.match(r"[a-z]+:", address):
            continue
        path, _, anchor = address.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT) and target.exists(), address
        assert not anchor or anchor in anchors(target), address
    html = "".join(token.content for token in tokens(page) if token.type.startswith("html"))
    for address in re.findall(r'<(?:img|source|audio)\b[^>]*\bsrc(?:set)?="([^":]+)"', html):
        assert (page.parent / address).exists(), address


@EACH_PAGE
def test_paths_written_as_code_exist(page: Path) -> None:
    made = {"deploy/secrets/grafana-password"}  # by the reader
    folders = "engine|server|training|load|benchmarks|cli|deploy|clients|tests|docs"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text()))
    assert not {path for path in named - made if not (ROOT / path).exists()}


@EACH_PAGE
def test_python_compiles_and_what_it_imports_is_there(page: Path) -> None:
    for code in blocks(page, "python"):
        tree = compile(code, page.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), node.module


@pytest.mark.parametrize(("name", "at"), [("README.md", 0), ("README.md", 1), ("docs/api/engine.md", 0)])
def test_examples_run(name: str, at: int, server: str, tmp_path: Path) -> None:
    code = list(blocks(ROOT / name, "python"))[at]
    code = code.replace("http://127.0.0.1:8000", server).replace("ws://127.0.0.1:8000", server.replace("http", "ws"))
    code = re.sub(r"seconds(\"?[=:] ?)(5|20)\b", r"seconds\g<1>1", code).replace("frames=375", "frames=75")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    written = next(path for path in tmp_path.iterdir() if path.is_file())
    samples = soundfile.info(written).frames if written.suffix == ".wav" else written.stat().st_size // 2
    assert samples == 24_000, "a second of sound"


@pytest.fixture(scope="module")
def command_pages() -> Iterator[ModuleType]:
    """The hook that writes the page of commands, which knows how each is built."""
    hooks = DOCS / "hooks"
    sys.path.insert(0, str(hooks))
    try:
        spec = importlib.util.spec_from_file_location("command_pages", hooks / "commands.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(hooks))


@EACH_PAGE
def test_command_lines_are_real(page: Path, command_pages: ModuleType) -> None:
    for line in _command_lines(page):
        said = not line or line[0].endswith(":")  # what the command says, not what is said to it
        if said or PLACEHOLDER.fullmatch(line[0]) or line[0] in ("--help", "--version"):
            continue
        assert line[0] in COMMANDS, line
        _check_command(command_pages.command_of(line[0]), line[1:])


def _command_lines(page: Path) -> Iterator[list[str]]:
    """What stands behind each ``whispergpt`` in shells and in the text."""
    texts = [block.replace("\\\n", " ") for block in (*blocks(page, "sh"), *blocks(page, "bash"))]
    texts += [token.content for token in tokens(page) if token.type == "code_inline"]
    for line in (line for text in texts for line in text.splitlines() if re.search(r"\bwhispergpt ", line)):
        lexer = shlex.shlex(re.sub(r"\$\{[^}]*\}", "$", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        parts = list(lexer)
        for at, part in enumerate(parts):
            if part == "whispergpt" and (at == 0 or BEFORE.fullmatch(parts[at - 1])):
                rest = parts[at + 1 :]
                end = next((i for i, word in enumerate(rest) if set(word) <= set("();<>|&")), len(rest))
                yield rest[:end]


def _check_command(command: Any, line: list[str]) -> None:
    """Parses a line as the command would; raises click's own error where it would be refused."""
    while below := getattr(command, "commands", None):
        if not line or PLACEHOLDER.fullmatch(line[0]):
            return
        assert line[0] in below, line
        command, line = below[line[0]], line[1:]
    context = command.make_context(command.name, [], resilient_parsing=True)
    context.resilient_parsing = False
    given, left, _ = command.make_parser(context).parse_args([*line, "…"])  # an option may stand without its value
    assert all(PLACEHOLDER.fullmatch(word) for word in left), f"{command.name} takes no {left}"
    for param in command.params:
        values = given.get(param.name)
        for value in values if isinstance(values, list | tuple) else [values]:
            kind = param.type_descriptor.annotation
            if not isinstance(value, str) or PLACEHOLDER.fullmatch(value):
                continue
            if get_origin(kind) is Literal:
                assert value in get_args(kind), line
            elif kind in (int, float):
                kind(value)


@EACH_PAGE
def test_variables_and_metrics_are_real(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"WHISPERGPT_[A-Z_]*[A-Z]", text)) <= _variables()
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bwhispergpt_[a-z_]+", text)}
    begun = {name for name in named if name.endswith("_")}  # what goes on with an ellipsis
    assert named - begun - {"whispergpt_client"} <= _metrics()
    assert all(any(metric.startswith(name) for metric in _metrics()) for name in begun)


def test_the_package_says_how_it_is_used() -> None:
    """Its docstring has the example of the page, which ``test_examples_run`` runs, and all public names are there."""
    (example, *_) = blocks(DOCS / "api" / "engine.md", "python")
    assert textwrap.indent(example, "    ") in (whispergpt.__doc__ or "")
    assert all(getattr(whispergpt, name) for name in whispergpt.__all__)


@cache
def _variables() -> set[str]:
    """Settings, and what else is read from the environment."""
    sources = [
        path for folder in ("engine", "cli", "load", "clients/python", "deploy") for path in (ROOT / folder).rglob("*")
    ]
    read = {
        word for path in sources if path.suffix == ".py" for word in re.findall(r"WHISPERGPT_\w+", path.read_text())
    }
    return {f"WHISPERGPT_{name.upper()}" for name in Settings.model_fields} | read


@cache
def _metrics() -> set[str]:
    metrics = Metrics()
    metrics.processes.engines.add(os.getpid())
    families = [*metrics.registry.collect(), *metrics.counts.collect()]
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_the_page_of_errors_has_all_codes_and_no_other() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "errors.md").read_text(), re.MULTILINE))
    assert told == set(_codes())


def _codes() -> Iterator[str]:
    """Every code that the server's sources give an error."""
    place = {"ApiError": 1, "bad_value": 2, "_refused": 0, "AudioError": 0}
    yield from ("bad_value", "missing_field", "unknown_field")
    reading = (ROOT / "engine" / "audio").glob("*.py")
    for path in [*(ROOT / "server").rglob("*.py"), *reading]:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=name), args=args) if name in place and place[name] < len(args):
                    if isinstance(code := args[place[name]], ast.Constant):
                        yield str(code.value)
                case ast.Dict(keys=[ast.Constant(value=str()), *_], values=[ast.Constant(value=int()), *_]):
                    if path.name == "errors.py":  # the codes of prompts, with their statuses
                        yield from (str(key.value) for key in node.keys if isinstance(key, ast.Constant))


def test_the_page_of_the_protocol_has_all_events_and_fields() -> None:
    page = (DOCS / "protocol.md").read_text()
    said = {event.__struct_config__.tag for event in get_args(ClientEvent)}
    for path in (ROOT / "server" / "session").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "send_event":
                said |= {str(kind.value) for kind in node.args[:1] if isinstance(kind, ast.Constant)}
    assert "response.created" in said
    assert not {event for event in said if f"`{event}`" not in page}
    kinds = (SessionFields, InputFields, OutputFields, ResponseFields, *get_args(ClientEvent))
    fields = {field.name for kind in kinds for field in msgspec.structs.fields(kind)}
    assert not {field for field in fields if not re.search(rf"[`.{{]{field}`", page)}


@pytest.mark.parametrize(("column", "kept_in"), [(0, torch.float32), (1, torch.bfloat16), (2, torch.int8)])
def test_a_slot_holds_what_the_page_says(column: int, kept_in: torch.dtype) -> None:
    state = load_model("speech", torch.device("cpu")).step.init_state(1, torch.device("cpu"), kept_in)
    model = branch(state, "model")
    parts = [branch(model, "stack"), branch(model, "slices"), branch(state, "decoder"), branch(state, "mel")]
    rest: State = {"logits": leaf(state, "logits")} | {"sampler": branch(state, "sampler")}
    rest |= {name: leaf(model, name) for name in ("hidden", "position")}
    counted = [state_bytes(part) for part in (*parts, rest, state)]
    assert sum(counted[:-1]) == counted[-1]
    page = (DOCS / "how-it-works.md").read_text().partition("a slot | float32")[2]
    rows = re.findall(r"^\|[^|]+\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", page, re.MULTILINE)
    assert [row[column] for row in rows] == [f"{count:,}" for count in counted]
    if kept_in != torch.int8:  # the picture shows the formats that `auto` chooses from
        assert f"{counted[-1]:,}" in (DOCS / "pictures" / "slot.svg").read_text()


def test_the_readme_is_short_and_says_what_the_site_says() -> None:
    readme = ROOT / "README.md"
    assert {*blocks(DOCS / "start.md", "python"), *blocks(DOCS / "protocol.md", "python")} == {
        *blocks(readme, "python")
    }
    lines = readme.read_text().splitlines()
    assert len(lines) <= 150
    numbers = lines[lines.index("## Numbers") : lines.index("## Security")]
    figures = [line for line in numbers if re.match(r"\| .*\d.* \|$", line)]
    assert len(figures) >= 3
    measured = (DOCS / "performance.md").read_text().splitlines()
    assert not set(figures) - set(measured)
