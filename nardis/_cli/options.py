"""The settings of the server as options of argparse."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from ..server.config import Setting, settings

__all__ = ["DEBUG", "add_options", "refusal", "with_values"]

DEBUG = "show the traceback of a failed start"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting of the server."""
    parser.add_argument("--debug", action="store_true", help=DEBUG)
    group = parser.add_argument_group(
        "settings", "each can be given by the environment, too: --drain is NARDIS_DRAIN"
    )
    for each in settings():
        group.add_argument(each.flag, dest=each.name, default=None, **_details(each))


def with_values(arguments: Sequence[str]) -> list[str]:
    """
    Return *arguments* with the first choice behind an option that stands alone (`--access-log`).

    argparse would take the application's name behind it for a choice.
    """
    optional = _optional()
    return [
        f"{each}={optional[each][0]}"
        if each in optional and following not in optional[each]
        else each
        for each, following in pairwise([*arguments, ""])
    ]


def _optional() -> dict[str, Sequence[str]]:
    """Return the choices of each option that may stand alone."""
    return {each.flag: each.choices for each in settings() if each.choices and each.default is None}


def refusal(arguments: Sequence[str], unknown: Sequence[str]) -> str:
    """
    Say what is wrong with *arguments*, of which *unknown* are too many.

    What stands behind an option that may stand alone was taken for the application's name. With
    another name it was meant to be a choice.
    """
    for each, following in pairwise(arguments):
        choices = _optional().get(each, ())
        if choices and following.isidentifier() and following not in choices:
            return (
                f"argument {each}: invalid choice: {following!r} (choose from {', '.join(choices)})"
            )
    return f"unrecognized arguments: {' '.join(unknown)}"


def _details(setting: Setting) -> dict[str, Any]:
    """Return how argparse takes a setting. One that is not given is left to the environment."""
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
