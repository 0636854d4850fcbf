"""The command line: `nardis serve module:app`, `nardis demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .errors import NardisError
from .server import Config, load, run

__all__ = ["main"]

ANNOUNCEMENT = "Nardis serves on {url} with {backend}; Ctrl-C stops it"

DEMO_LINES = """

In another terminal:

  curl -N {url}/ticks
      a live stream: stop it with Ctrl-C, and the server says that the work for it ended
  curl -N --limit-rate 64k {url}/flood > /dev/null
      a slow reader: the handler goes no faster than you
  head -c 50M /dev/zero | curl -N -T - {url}/upload
      an upload that is hashed as it arrives, while its progress comes back
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the status for the shell is returned, and errors of usage are one line."""
    options = _parser().parse_args(argv)
    sys.path.insert(0, "")  # modules are found beside the one who calls, as `python -m` finds them
    try:
        config = Config(
            bind=options.bind or ["127.0.0.1:3000"], backend=options.backend, drain_s=options.drain, graceful_s=options.graceful
        )
        run(load(options.target), config, announce=ANNOUNCEMENT + options.lines)
    except Exception as exc:
        if options.debug:
            raise
        print(f"nardis: {exc if isinstance(exc, NardisError) else f'{type(exc).__name__}: {exc}'}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nardis", description="Serve Nardis applications on hypercorn.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    parser.set_defaults(lines="")
    serve = commands.add_parser("serve", help="serve an application")
    serve.add_argument("target", metavar="MODULE:APP", help="an application: module:name, or path/to/file.py:name")
    _add_options(serve)
    demo = commands.add_parser("demo", help="serve the demo, and print lines to try")
    demo.set_defaults(target="nardis._demo:app", lines=DEMO_LINES)
    _add_options(demo)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bind", action="append", metavar="HOST:PORT", help="where to listen, repeatable; port 0 takes a free one"
    )
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio", help="hypercorn's worker (default: trio)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failed start")
    parser.add_argument(
        "--drain", type=float, default=3, metavar="S", help="seconds for streams to end by themselves (default: 3)"
    )
    parser.add_argument("--graceful", type=float, default=10, metavar="S", help="seconds until everything is cut (default: 10)")


if __name__ == "__main__":
    sys.exit(main())
