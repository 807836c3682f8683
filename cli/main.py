"""The ``whispergpt`` command: its subcommands, each in a file beside this one, and its error messages."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeAlias

import typer
from typer.main import get_command

from whispergpt.engine.checkpoints.installed import package_version

COMMANDS = {
    "serve": ("whispergpt.cli.serve", "Serve models over HTTP and WebSocket."),
    "continue": ("whispergpt.cli.continuation", "Continue a recording, without a server."),
    "verify": ("whispergpt.cli.verify", "Make a continuation again, and say whether a file is the same."),
    "eval": ("whispergpt.cli.evaluate", "Measure models' next-code NLL over a folder of audio."),
    "codec": ("whispergpt.cli.codec", "Send audio through the codec and back."),
    "models": ("whispergpt.cli.models", "List the installed models."),
    "train": ("whispergpt.cli.train.commands", "Train a codec or a model from folders of audio."),
    "bench": ("whispergpt.cli.bench", "Measure this machine's real-time streams, and those of peers."),
    "load": ("whispergpt.cli.load", "Send listeners to a running server, and report what they heard."),
    "keys": ("whispergpt.cli.keys", "Make and list the API keys of a server."),
    "demo": ("whispergpt.cli.demo", "Start a server, continue a prompt, and write the result."),
}
"""Module and help of each subcommand; a module is imported only when called, since importing torch takes seconds."""

# Typer carries its own copy of click: the base of its public exception is the class that all usage errors share.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

_INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ends, as shells give it."""
_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((\S+)\)|Got unexpected extra argument.*")
"""Click's message for words that no argument takes; its group is the word, if there is one."""

_Command: TypeAlias = Any  # of Typer's copy, without a public name


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit; a wrong argument gives one line on stderr and status 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        print(_usage(), flush=True)
        print("whispergpt: Which command?", file=sys.stderr)
        sys.exit(2)
    if given[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0)
    if given[0] == "--version":
        print(f"whispergpt {package_version()}")
        sys.exit(0)
    if given[0] not in COMMANDS:
        print(f"whispergpt: {_no_command(given[0])}", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(_run(given[0], given[1:]))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _no_command(given: str) -> str:
    """Return the sentence for a word that is no command."""
    near = get_close_matches(given.lstrip("-").lower(), COMMANDS, 1, 0.7)
    meant = f"did you mean {near[0]}? There" if near else "there"
    return f"there is no command {given!r}; {meant} is {', '.join(COMMANDS)}, and --help explains them."


def command_of(name: str) -> _Command:
    """Return one subcommand, to run or to document it.

    Its help is plain text, because typer's tables truncate option names on a terminal of 80 columns.
    """
    module = import_module(COMMANDS[name][0])
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(name=name)(getattr(module, COMMANDS[name][0].rpartition(".")[2]))
    app.rich_markup_mode = None
    command = get_command(app)
    _tell_in_full(command)
    return command


def _tell_in_full(command: _Command) -> None:
    """Show the complete help of each command in lists of commands, instead of a truncated line."""
    for below in getattr(command, "commands", {}).values():
        below.short_help = below.help
        _tell_in_full(below)


def _run(name: str, arguments: list[str]) -> int:
    command = command_of(name)
    called, last, rest = _followed(name, command, arguments)
    below = ", ".join(getattr(last, "commands", {}))
    if below and not (rest and rest[0].startswith("-")):
        said = f"there is no command {rest[0]!r}; there is {below}." if rest else f"Which command? There is {below}."
        print(f"{called}: {said}", file=sys.stderr)
        return 2
    try:
        status = command.main(args=arguments, prog_name=f"whispergpt {name}", standalone_mode=False)
    except typer.Abort:
        return _INTERRUPTED
    except OSError as error:
        if error.strerror is None:
            raise
        print(f"{called}: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        return 1
    except _ClickError as error:
        print(f"{called}: {_told(error, called, last, rest)}", file=sys.stderr)
        return 2
    return status if isinstance(status, int) else 0


def _told(error: Any, called: str, command: _Command, given: list[str]) -> str:
    """Return the sentence for a wrong usage of a command, which says what may be meant by a word it does not know."""
    from whispergpt.cli.options import in_plain_words, named_instead  # imported here, since typer takes long

    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    told, meant = error.format_message(), []
    extra = _EXTRA.fullmatch(told)
    if hasattr(error, "possibilities"):
        told = f"No such option: {error.option_name}"
        meant = _setting(error.option_name) if called == "whispergpt serve" else []
        meant = meant or named_instead(error.option_name, error.possibilities or (), known)
    elif not extra:
        return in_plain_words(told)
    elif extra[1] and "-o" in known and not {"-o", "--output", "--out"} & set(given):
        meant = [f"-o {extra[1]}"]
    remedy = f"did you mean {' or '.join(meant)}?" if meant else f"`{called} --help` lists what it takes."
    return f"{told}; {remedy}"


def _setting(option: str) -> list[str]:
    """Return the variable of a setting of the server that has no option; none for other names."""
    from whispergpt.server.settings import variable_for

    variable = variable_for(option)
    return [] if variable is None else [variable]


def _followed(name: str, command: _Command, arguments: list[str]) -> tuple[str, _Command, list[str]]:
    """Return the called name, such as ``whispergpt train lm``, its command, and the arguments left for it."""
    words, rest = ["whispergpt", name], list(arguments)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest[0]]
        words.append(rest.pop(0))
    return " ".join(words), command, rest


def _usage() -> str:
    lines = "\n".join(f"  {name:10}{text}" for name, (_, text) in COMMANDS.items())
    told = "whispergpt COMMAND --help lists a command's options."
    return f"Usage: whispergpt COMMAND [OPTIONS]\n\nContinue a few seconds of sound, live.\n\n{lines}\n\n{told}"


if __name__ == "__main__":
    main()
