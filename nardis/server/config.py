"""How to serve: one place for each setting, its flag and its environment variable."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Final, Literal, cast

from .._http.forwarded import TrustProxy, compile_trust
from ..errors import UsageError

__all__ = ["Config", "Setting", "settings"]

# The longest time that makes sense, in seconds: eleven days. Some limits go to the system as
# milliseconds, in 32 bits.
MOST_S: Final = 1_000_000

DEFAULT_BIND: Final = ("127.0.0.1:3000",)

Check = Callable[[Any], None]


class _Default(float):
    """Seconds that nobody asked for: they follow from the ones that somebody did."""


# A download that meets a deploy has ten seconds to end, and clean-up five more: Kubernetes allows
# 30 in all.
DRAIN_S: Final = _Default(10)
GRACEFUL_S: Final = _Default(15)


@dataclass(frozen=True, slots=True)
class Setting:
    """
    A setting as the command line and the environment have it.

    Attributes:
        name: The field of `Config`.
        flag: `--drain`.
        variable: `NARDIS_DRAIN`.
        read: Makes its value of a text.
        help: A line of explanation.
        default: What it is if nobody says.
        check: Raises a ValueError for a value that will not do, and says what would.
        metavar: Stands for the value in the help.
        many: Whether the flag may be repeated; the variable then has commas.
        choices: What the value may be, if not anything.
        switch: A flag without a value, which gives this one.
    """

    name: str
    flag: str
    read: Callable[[str], Any]
    help: str
    default: Any
    check: Check | None = None
    metavar: str = "TEXT"
    many: bool = False
    choices: tuple[str, ...] = ()
    switch: Any = None

    @property
    def variable(self) -> str:
        """Name the environment variable."""
        return "NARDIS_" + self.flag.removeprefix("--").upper().replace("-", "_")

    def parse(self, text: str) -> Any:
        """Make a value of *text*, as it stands in the environment."""
        try:
            if self.many:
                return _some(self.read(each.strip()) for each in text.split(",") if each.strip())
            value = self.read(text)
        except ValueError as exc:
            raise UsageError(f"{self.variable}={text!r} will not do: {exc}") from exc
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.variable}={text!r} is none of {', '.join(self.choices)}")
        return value


def _some(values: Iterable[Any]) -> tuple[Any, ...]:
    if not (some := tuple(values)):
        raise ValueError("write at least one")
    return some


def _setting(default: Any, flag: str, read: Callable[[str], Any], help: str, **options: Any) -> Any:
    return field(default=default, metadata={"flag": flag, "read": read, "help": help, **options})


def _trusted(text: str) -> TrustProxy:
    """Read a number of proxies, or their addresses; an application gets `Nardis(trust_proxy=)`."""
    if text.isdigit():
        return int(text)
    return True if text.lower() == "true" else text


def _is_count(value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError("write a whole number, at least 1")


def _is_count_or_zero(value: Any) -> None:
    if not isinstance(value, int) or value < 0:
        raise ValueError("write a whole number, at least 0")


def _is_time(value: Any) -> None:
    if not isinstance(value, int | float) or not 0 < value <= MOST_S:
        raise ValueError(f"write a number of seconds above 0, at most {MOST_S:,}")


def _is_time_or_zero(value: Any) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= MOST_S:
        raise ValueError(f"write a number of seconds, at least 0, at most {MOST_S:,}")


def _count(default: int | None, flag: str, help: str, check: Check = _is_count) -> Any:
    return _setting(
        default, flag, partial(_read_number, int, check), help, check=check, metavar="N"
    )


def _seconds(default: float, flag: str, help: str, check: Check = _is_time) -> Any:
    return _setting(
        default, flag, partial(_read_number, float, check), help, check=check, metavar="S"
    )


def _read_number(kind: type[float], check: Check, text: str) -> Any:
    value: Any = text
    with suppress(ValueError):
        value = kind(text)
    check(value)
    return value


def yes_or_no(text: str) -> bool:
    """
    Read a boolean.

    >>> yes_or_no("1"), yes_or_no("no")
    (True, False)
    """
    try:
        return {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }[text.lower()]
    except KeyError:
        raise ValueError("say 1 or 0") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """
    How to serve, in seconds, bytes and counts; each has a flag and an environment variable.

    Attributes:
        bind: Where to listen: `host:port` (port 0 takes a free one), `unix:/path`, `fd://3` (an
            inherited socket).
        backend: The event loop: `trio`, or `asyncio`, with uvloop if that is installed.
        workers: How many processes; each serves all addresses.
        drain_s: From the signal, how long what is running may take to end by itself; streams that
            listen to `app.draining` do. Where only `graceful_s` is given, it is two thirds of that,
            and at most 10.
        graceful_s: From the signal, how long everything may take; includes `drain_s`. What is left
            then is cut. Where only `drain_s` is given, it is 5 more than that, and at least 15.
        write_stall_s: How long a client may read nothing of what waits for it.
        keep_alive_s: How long a connection may be idle.
        head_s: How long the head of a request may take, from its first byte; and the handshake of
            TLS.
        body_idle_s: Longest pause in a request body that the application is waiting for. A Nardis
            application uses its own `Limits.body_idle_s` instead.
        head_bytes: The most for the head of a request.
        max_connections: Beyond this a client gets 503.
        max_in_flight: Beyond this a request gets 503.
        max_requests: A worker process ends after so many and is replaced; None is never.
        max_requests_jitter: At most so many more, by chance, so that not all are replaced at once.
        backlog: Connections that the system keeps waiting.
        http2: Speak HTTP/2 as well, in the clear (by prior knowledge or upgrade) and over TLS.
            False is HTTP/1.1 alone, and WebSockets over it.
        ws_ping_s: A client of a WebSocket that was silent for so long is asked whether it is there
            (a Ping), and is gone when it is silent for as long after that; 0 never asks.
        ws_compression: Compress the messages of WebSockets where the client can do that, which
            costs processor time and saves bandwidth.
        reuse_port: Let each worker have sockets of its own (SO_REUSEPORT). One that ends then
            resets what it has queued.
        certfile: A certificate chain, PEM: serve TLS.
        keyfile: Its key.
        keyfile_password: What opens it.
        access_log: One line for each exchange, to the logger `nardis.access`: `text` or `json`.
        root_path: Where a proxy has put the application.
        ready: Called with True when serving begins, with False when draining does.
    """

    bind: Sequence[str] = _setting(
        DEFAULT_BIND,
        "--bind",
        str,
        "where to listen: HOST:PORT, unix:PATH or fd://N, repeatable; port 0 takes a free one",
        metavar="ADDRESS",
        many=True,
    )
    backend: Literal["trio", "asyncio"] = _setting(
        "trio", "--backend", str, "the event loop to serve on", choices=("trio", "asyncio")
    )
    workers: int = _count(1, "--workers", "how many processes")
    drain_s: float = _seconds(
        DRAIN_S, "--drain", "seconds for what is running to end by itself", _is_time_or_zero
    )
    graceful_s: float = _seconds(
        GRACEFUL_S,
        "--graceful",
        "seconds until everything is cut, --drain included",
        _is_time_or_zero,
    )
    write_stall_s: float = _seconds(60.0, "--write-stall", "seconds that a client may read nothing")
    keep_alive_s: float = _seconds(5.0, "--keep-alive", "seconds that a connection may be idle")
    head_s: float = _seconds(10.0, "--head-timeout", "seconds for the head of a request")
    body_idle_s: float = _seconds(
        120.0,
        "--body-idle",
        "seconds that a request body may stop (not for Nardis: its Limits hold)",
    )
    head_bytes: int = _count(32 * 1024, "--head-bytes", "most bytes for the head of a request")
    max_connections: int = _count(10_000, "--max-connections", "connections beyond this get 503")
    max_in_flight: int = _count(10_000, "--max-in-flight", "requests beyond this get 503")
    max_requests: int | None = _count(
        None, "--max-requests", "replace a worker after so many requests"
    )
    max_requests_jitter: int = _count(
        0, "--max-requests-jitter", "at most so many more, by chance", _is_count_or_zero
    )
    backlog: int = _count(1024, "--backlog", "connections that the system keeps waiting")
    http2: bool = _setting(
        True, "--no-http2", lambda text: not yes_or_no(text), "speak HTTP/1.1 alone", switch=False
    )
    ws_ping_s: float = _seconds(
        20.0, "--ws-ping", "seconds until a silent WebSocket is asked; 0 is never", _is_time_or_zero
    )
    ws_compression: bool = _setting(
        False, "--ws-compression", yes_or_no, "compress messages of WebSockets", switch=True
    )
    reuse_port: bool = _setting(
        False,
        "--reuse-port",
        yes_or_no,
        "listening sockets of its own for each worker",
        switch=True,
    )
    certfile: str | None = _setting(
        None, "--certfile", str, "serve TLS with this certificate chain (PEM)"
    )
    keyfile: str | None = _setting(None, "--keyfile", str, "the private key of the certificate")
    keyfile_password: str | None = _setting(
        None, "--keyfile-password", str, "the password of the key; better given by the environment"
    )
    access_log: Literal["text", "json"] | None = _setting(
        None, "--access-log", str, "log each exchange, as text or json", choices=("text", "json")
    )
    trust_proxy: TrustProxy = _setting(  # noqa: RUF009  # as its neighbours; its type looks mutable
        0,
        "--trust-proxy",
        _trusted,
        "the proxies in front that name the client: how many, or their networks",
        metavar="COUNT|NETWORKS",
    )
    root_path: str = _setting("", "--root-path", str, "where a proxy has put the application")
    ready: Callable[[bool], object] | None = None

    def __post_init__(self) -> None:
        if (
            isinstance(self.bind, str)
            or not self.bind
            or not all(isinstance(each, str) for each in cast("Sequence[Any]", self.bind))
        ):
            raise UsageError(
                f'bind is a list of addresses such as ["127.0.0.1:3000"], not {self.bind!r}'
            )
        if self.backend not in ("trio", "asyncio"):
            raise UsageError(f"backend is 'trio' or 'asyncio', not {self.backend!r}")
        for each in settings():
            value = getattr(self, each.name)
            if each.check is not None and value != each.default:
                try:
                    each.check(value)
                except ValueError as exc:
                    raise UsageError(f"{each.name}={value!r} will not do: {exc}") from exc
        self._fit_times()
        if not self.drain_s <= self.graceful_s:
            raise UsageError(
                f"graceful_s={self.graceful_s:g} includes drain_s={self.drain_s:g}, so it cannot "
                "be less (--graceful and --drain)"
            )
        if isinstance(self.trust_proxy, (list, tuple)):  # a worker is told by its environment
            object.__setattr__(self, "trust_proxy", ",".join(map(str, self.trust_proxy)))
        compile_trust(self.trust_proxy)
        if self.access_log not in (None, "text", "json"):
            raise UsageError(f"access_log is 'text' or 'json', not {self.access_log!r}")
        if (self.certfile is None) != (self.keyfile is None):
            raise UsageError("TLS needs both a certfile and a keyfile")

    def _fit_times(self) -> None:
        """Make of `drain_s` and `graceful_s` the one that nobody gave fit the other."""
        drain_s: float = self.drain_s
        if isinstance(drain_s, _Default) and not isinstance(self.graceful_s, _Default):
            object.__setattr__(
                self, "drain_s", _Default(min(DRAIN_S, self.graceful_s * DRAIN_S / GRACEFUL_S))
            )
        elif isinstance(self.graceful_s, _Default):
            graceful_s = min(max(GRACEFUL_S, drain_s + GRACEFUL_S - DRAIN_S), MOST_S)
            object.__setattr__(self, "graceful_s", _Default(graceful_s))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Config:
        """
        Take what is *given*, and the rest from environment variables such as `NARDIS_BIND`.

        Raises:
            UsageError: A variable that cannot be read.
        """
        environment = os.environ if environment is None else environment
        found = {
            each.name: each.parse(environment[each.variable])
            for each in settings()
            if environment.get(each.variable)
        }
        return cls(**{**found, **given})

    def as_environment(self) -> dict[str, str]:
        """Return the environment variables that `from_environment` would make this of."""
        variables: dict[str, str] = {}
        for each in settings():
            value = getattr(self, each.name)
            # Seconds that somebody gave stay given, also where they are as many as by default: the
            # others follow from them.
            if value != each.default or type(value) is not type(each.default):
                variables[each.variable] = (
                    ",".join(value)
                    if each.many
                    else str(int(value != each.default))
                    if each.switch is not None
                    else str(value)
                )
        return variables


def settings() -> list[Setting]:
    """List the settings that have a flag."""
    return [
        Setting(name=each.name, default=each.default, **each.metadata)
        for each in fields(Config)
        if each.metadata
    ]
