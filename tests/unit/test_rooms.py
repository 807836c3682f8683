"""The folders are the architecture: one name, who may import whom, no circles, no crowded folder, no long function."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "engine": set(),
    "server": {"engine"},
    "training": {"engine"},
    "load": {"engine"},
    "benchmarks": {"engine", "server", "load"},
    "deploy": {"engine", "server"},
    "cli": {"engine", "server", "training", "load", "benchmarks"},
}
"""Top folders, and those that each may import besides itself."""
ROOMS_MAY_IMPORT = {
    "engine.messages": set(),
    "engine.model": set(),
    "engine.audio": set(),
    "engine.checkpoints": {"engine.model"},
    "engine.native": {"engine.model", "engine.checkpoints"},
    "engine.gpu": {"engine.model"},
    "engine.backends": {"engine.model", "engine.audio", "engine.native", "engine.gpu"},
    "engine.prompts": {"engine.model", "engine.audio", "engine.backends"},
    "engine.streams": {"engine.messages", "engine.model", "engine.prompts"},
    "engine.process": {"engine.checkpoints", "engine.messages", "engine.prompts", "engine.streams"},
    "server.observe": set(),
    "server.tokens": set(),
    "server.access": {"server.observe", "server.tokens"},
    "server.link": {"server.access", "server.observe"},
    "server.decoding": {"server.access", "server.observe"},
    "server.audio": {"server.link", "server.observe"},
    "server.admission": {"server.access", "server.link", "server.observe"},
    "server.edge": {"server.access", "server.admission", "server.observe"},
    "server.feeds": {"server.access", "server.admission", "server.audio", "server.observe"},
}
"""Rooms, and those of the same top folder that each may import. Modules beside rooms may be imported by all."""
EVERY_ROOM_BUT = {
    "server.http": {"server.session", "server.realtime"},
    "server.session": {"server.http", "server.realtime"},
}
EVERY_ROOM_BUT["server.realtime"] = {"server.http"}
EVERY_ROOM_BUT["server.workers"] = {"server.session", "server.realtime"}
MOST_MODULES = 15
MOST_LINES = 60
LONG = {"attention", "finer_codes", "upsampling"}
"""GPU kernels that are longer, because each of their parameters has a line."""


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _modules() -> dict[str, Path]:
    """Every module of ours by its dotted name, without ``whispergpt.``."""
    files = (path for top in MAY_IMPORT for path in (ROOT / top).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}


@cache
def _imported(module: str) -> frozenset[str]:
    """Return our modules that a module imports when it runs, within functions too, but not for types alone."""
    tree = _tree(_modules()[module])
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(name.removeprefix("whispergpt.") for name in names if name.startswith("whispergpt."))


def _room(module: str) -> str:
    """Return a module's room, ``server.http``; of modules beside rooms their own name."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 else module


def test_everything_has_one_name() -> None:
    """Each top folder is imported through ``whispergpt`` alone; under a second name its modules would exist twice."""
    for top in MAY_IMPORT:
        assert (ROOT / "whispergpt" / top).resolve() == ROOT / top
    for path in [*_modules().values(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]:
        for node in ast.walk(_tree(path)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & MAY_IMPORT.keys(), path


def test_arrows_between_top_folders_never_turn_round() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in _modules()
        for name in _imported(module)
        if (top := name.split(".")[0]) in MAY_IMPORT and top not in MAY_IMPORT[own := module.split(".")[0]] | {own}
    ]
    assert not wrong


@pytest.mark.parametrize("room", [*ROOMS_MAY_IMPORT, *EVERY_ROOM_BUT])
def test_a_room_imports_what_it_may(room: str) -> None:
    top = room.split(".")[0]
    rooms = {_room(module) for module in _modules() if module.startswith(f"{top}.") and module.count(".") > 1}
    assert room in rooms
    may = ROOMS_MAY_IMPORT[room] if room in ROOMS_MAY_IMPORT else rooms - EVERY_ROOM_BUT[room]
    wrong = [
        f"{module} imports {name}"
        for module in _modules()
        if _room(module) == room
        for name in _imported(module)
        if _room(name) in rooms - may - {room}
    ]
    assert not wrong


def test_no_modules_and_no_rooms_import_each_other_in_a_circle() -> None:
    modules = {module: _imported(module) & _modules().keys() - {module} for module in _modules()}
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, names in modules.items():
        if module.count(".") > 1:
            rooms[_room(module)] |= {_room(name) for name in names if name.count(".") > 1} - {_room(module)}
    for graph in (modules, rooms):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            raise AssertionError(" -> ".join(error.args[1])) from None


def test_no_folder_is_crowded() -> None:
    folders = Counter(
        path.parent.relative_to(ROOT).as_posix() for path in _modules().values() if path.name != "__init__.py"
    )
    assert not {folder: count for folder, count in folders.items() if count > MOST_MODULES}


def test_functions_fit_on_a_screen() -> None:
    long = {
        node.name
        for path in _modules().values()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MOST_LINES
    }
    assert long == LONG
