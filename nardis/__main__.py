"""The command line: `nardis serve module:app`, `nardis demo`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from .errors import NardisError
from .server import Config, run
from .server.config import Setting, settings

__all__ = ["main"]

ANNOUNCEMENT = "Nardis serves on {url} with {backend}; Ctrl-C stops it"

# Who ends the demo does not want to wait for a client that takes nothing, unless they say how long.
DEMO_ENVIRONMENT = {"NARDIS_DRAIN": "0.5", "NARDIS_GRACEFUL": "1.5"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the status for the shell is returned, and errors of usage are one line."""
    options = _parser().parse_args(_with_values(sys.argv[1:] if argv is None else argv))
    sys.path.insert(0, "")  # modules are found beside the one who calls, as `python -m` finds them
    try:
        given = {
            each.name: getattr(options, each.name)
            for each in settings()
            if getattr(options, each.name) is not None
        }
        if options.demo:
            from ._demo import run_demo

            patient = not given.keys().isdisjoint(("drain_s", "graceful_s"))
            run_demo(
                Config.from_environment(
                    os.environ if patient else DEMO_ENVIRONMENT | os.environ, **given
                )
            )
        else:
            run(options.target, Config.from_environment(**given), announce=ANNOUNCEMENT)
    except Exception as exc:
        if options.debug:
            raise
        print(
            f"nardis: {exc if isinstance(exc, NardisError) else f'{type(exc).__name__}: {exc}'}",
            file=sys.stderr,
        )
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nardis", description="Serve Nardis applications on hypercorn."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    parser.set_defaults(demo=False)
    serve = commands.add_parser(
        "serve", usage="%(prog)s [SETTINGS] MODULE:APP", help="serve an application"
    )
    serve.add_argument(
        "target", metavar="MODULE:APP", help="an application: module:name, or path/to/file.py:name"
    )
    _add_options(serve)
    demo_help = "serve the demo, on both backends: a page for the browser, and lines for curl"
    demo = commands.add_parser("demo", usage="%(prog)s [SETTINGS]", help=demo_help)
    demo.set_defaults(demo=True)
    _add_options(demo)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failed start")
    group = parser.add_argument_group(
        "settings", "each can be given by the environment, too: --drain is NARDIS_DRAIN"
    )
    for each in settings():
        group.add_argument(each.flag, dest=each.name, default=None, **_details(each))


def _with_values(arguments: Sequence[str]) -> list[str]:
    """Let `--access-log` alone mean its first choice, also before the application's name, which argparse would take for one."""
    optional = {
        each.flag: each.choices for each in settings() if each.choices and each.default is None
    }
    return [
        f"{each}={optional[each][0]}"
        if each in optional and following not in optional[each]
        else each
        for each, following in pairwise([*arguments, ""])
    ]


def _details(setting: Setting) -> dict[str, Any]:
    """Say how argparse is to take a setting; who does not give it leaves it to the environment."""
    shown = ", ".join(setting.default) if setting.many else setting.default
    help_text = (
        setting.help
        if shown in (None, "") or isinstance(shown, bool)
        else f"{setting.help} (default: {shown})"
    )
    if setting.switch is not None:
        return {"action": "store_const", "const": setting.switch, "help": help_text}
    if setting.choices:
        return {"choices": setting.choices, "help": help_text}
    return {
        "type": partial(_read, setting),
        "action": "append" if setting.many else "store",
        "metavar": setting.metavar,
        "help": help_text,
    }


def _read(setting: Setting, text: str) -> Any:
    """Read a value; argparse shows why that fails for this error alone."""
    try:
        return setting.read(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} will not do: {exc}") from exc


if __name__ == "__main__":
    sys.exit(main())
