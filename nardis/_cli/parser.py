"""What the command line takes, and what it runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from .._failures import place_of
from .._version import __version__
from ..errors import NardisError, StartFailed
from ..server import Config, run
from ..server.config import settings
from .options import DEBUG, add_options, refusal, with_values
from .routes import list_routes

__all__ = ["main"]

ANNOUNCEMENT = "Nardis serves on {url} with {backend}; Ctrl-C stops it"

TARGET = "an application: module:name, or path/to/file.py:name"

# At the end of the demo nobody wants to wait for a client that takes nothing.
DEMO_ENVIRONMENT = {"NARDIS_DRAIN": "0.5", "NARDIS_GRACEFUL": "1.5"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the status for the shell; an error is one line."""
    arguments = sys.argv[1:] if argv is None else argv
    options, unknown = _parser().parse_known_args(with_values(arguments))
    if unknown:
        options.command.error(refusal(arguments, unknown))  # with the usage of that command
    sys.path.insert(0, "")  # modules are found as `python -m` finds them
    try:
        options.run(options)
    except Exception as exc:
        if options.debug:
            raise
        print(f"nardis: {_told(exc)}", file=sys.stderr)
        return 1
    return 0


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the server that the command line has."""
    values = {each.name: getattr(options, each.name) for each in settings()}
    return {name: value for name, value in values.items() if value is not None}


def _serve(options: argparse.Namespace) -> None:
    run(options.target, Config.from_environment(**_given(options)), announce=ANNOUNCEMENT)


def _demo(options: argparse.Namespace) -> None:
    from .._demo import run_demo

    given = _given(options)
    patient = not given.keys().isdisjoint(("drain_s", "graceful_s"))
    environment = os.environ if patient else DEMO_ENVIRONMENT | os.environ
    run_demo(Config.from_environment(environment, **given))


def _routes(options: argparse.Namespace) -> None:
    list_routes(options.target)


def _told(error: Exception) -> str:
    """Say in a line why nothing is served, and in which line of the program that began."""
    said = str(error) if isinstance(error, NardisError) else f"{type(error).__name__}: {error}"
    origin: BaseException = error
    while isinstance(origin, StartFailed) and origin.__cause__ is not None:
        origin = origin.__cause__
    place = place_of(origin)
    if not place:
        return said
    return f"{said if place in said else said + place}; --debug shows the traceback"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nardis", description="Serve Nardis applications, and any ASGI application."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve", usage="%(prog)s [SETTINGS] MODULE:APP", help="serve an application"
    )
    serve.add_argument("target", metavar="MODULE:APP", help=TARGET)
    serve.set_defaults(command=serve, run=_serve)
    add_options(serve)
    routes = commands.add_parser(
        "routes", usage="%(prog)s MODULE:APP", help="list the routes of an application"
    )
    routes.add_argument("target", metavar="MODULE:APP", help=TARGET)
    routes.add_argument("--debug", action="store_true", help=DEBUG)
    routes.set_defaults(command=routes, run=_routes)
    demo_help = "serve the demo, on both backends: a page for the browser, and lines for curl"
    demo = commands.add_parser("demo", usage="%(prog)s [SETTINGS]", help=demo_help)
    demo.set_defaults(command=demo, run=_demo)
    add_options(demo)
    return parser
