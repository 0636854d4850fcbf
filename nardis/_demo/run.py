"""Two servers for one demo: one in the main thread, the other one in a thread beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Literal

import anyio
from anyio.from_thread import start_blocking_portal

from ..server import Config, run, serve
from ..server.sockets import listening, urls_of
from .handlers import make_app

__all__ = ["run_demo"]

ANNOUNCEMENT: Final = """
Nardis demo: open {url}/#me in a browser; Ctrl-C ends it.
It is served on {backend} there, and on {other_backend} at {other}/#me

The page follows what is done in another terminal:

  curl -N --limit-rate 2M {url}/stream/me -o /dev/null
      a slow reader: the handler goes no faster than you
  head -c 50M /dev/urandom | curl -N -T - {url}/upload/me
      an upload that is hashed as it arrives, while its progress comes back
  curl -N {url}/leave/me
      a client that waits: leave with Ctrl-C, and the handler tells how it ended
"""


def run_demo(config: Config) -> None:
    """
    Serve the demo until SIGINT or SIGTERM, on both backends: `config.backend` comes first.

    If there is no second address, it is the next port of the first.

    Raises:
        StartFailed: An address is taken.
    """
    backend: Literal["trio", "asyncio"] = "asyncio" if config.backend == "trio" else "trio"
    with listening(replace(config, bind=_addresses(config.bind))) as (socket, other_socket):
        ports: dict[str, int] = {
            config.backend: socket.getsockname()[1],
            backend: other_socket.getsockname()[1],
        }
        url, other = urls_of([socket, other_socket], config)
        announcement = ANNOUNCEMENT.format(
            url=url, backend=config.backend, other=other, other_backend=backend
        )
        with start_blocking_portal(backend) as portal:
            stop = portal.call(anyio.Event)

            def on_ready(is_ready: bool) -> None:
                if is_ready:
                    socket.close()  # the server has its own of it
                else:
                    portal.start_task_soon(stop.set)  # both end at once

            beside = replace(config, bind=[f"fd://{other_socket.fileno()}"], backend=backend)
            ended, _ = portal.start_task(
                partial(serve, make_app(ports), beside, shutdown=stop.wait)
            )
            other_socket.close()
            try:
                run(
                    make_app(ports),
                    replace(config, bind=[f"fd://{socket.fileno()}"], ready=on_ready),
                    announce=announcement,
                )
            finally:
                portal.call(stop.set)
                ended.result()


def _addresses(bind: Sequence[str]) -> list[str]:
    """
    Return both addresses.

    >>> _addresses(["127.0.0.1:3000"]), _addresses(["[::1]:0"]), _addresses(["a:1", "b:2"])
    (['127.0.0.1:3000', '127.0.0.1:3001'], ['[::1]:0', '[::1]:0'], ['a:1', 'b:2'])
    """
    if len(bind) > 1:
        return list(bind[:2])
    host, _, port = bind[0].rpartition(":")
    return [bind[0], f"{host}:{int(port) + 1 if port.isdigit() and int(port) else 0}"]
