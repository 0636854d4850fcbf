"""Quart on trio."""

from __future__ import annotations

from functools import partial

from quart_trio import QuartTrio

from . import quart

make = partial(quart.make, kind=QuartTrio)
