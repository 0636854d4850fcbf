"""`app.listen()` is the server's `run` with a port and a host."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import nardis.server
from nardis import Nardis, UsageError
from nardis.errors import StartFailed


@pytest.fixture
def runs(monkeypatch):
    """Record what would be served."""
    calls = []
    monkeypatch.setattr(nardis.server, "run", lambda app, config: calls.append((app, config)))
    return calls


def test_listen_serves_on_this_machine_with_trio(runs):
    app = Nardis()
    app.listen()

    [(served, config)] = runs
    assert served is app
    assert (list(config.bind), config.backend) == (["127.0.0.1:3000"], "trio")


def test_listen_takes_port_host_backend_and_the_options_of_config(runs):
    Nardis().listen(8080, "0.0.0.0", backend="asyncio", drain_s=1, graceful_s=2)

    [(_, config)] = runs
    assert (list(config.bind), config.backend, config.drain_s, config.graceful_s) == (
        ["0.0.0.0:8080"],
        "asyncio",
        1,
        2,
    )


def test_listen_takes_an_ipv6_address(runs):
    """As it is written everywhere else: without brackets, which an address with a port needs."""
    Nardis().listen(8080, "::1")

    assert list(runs[0][1].bind) == ["[::1]:8080"]


def test_listen_refuses_what_config_refuses(runs):
    with pytest.raises(UsageError):
        Nardis().listen(backend="curio")
    with pytest.raises(TypeError):
        Nardis().listen(nosuchoption=1)
    assert runs == []


@pytest.fixture
def in_use(monkeypatch):
    """Make each start fail, as where the port is in use."""

    def fails(app, config):
        raise StartFailed("cannot listen on 127.0.0.1:3000: Address already in use")

    monkeypatch.setattr(nardis.server, "run", fails)


def test_a_start_that_fails_is_one_line_and_a_status_above_zero(in_use):
    """As with `nardis serve`: `python hello.py` on a port in use is no reason for a traceback."""
    with pytest.raises(SystemExit) as ended:
        Nardis().listen()

    assert ended.value.code == "nardis: cannot listen on 127.0.0.1:3000: Address already in use"


def test_a_start_that_fails_in_a_thread_is_raised(in_use):
    """Nobody would see a SystemExit there."""
    with ThreadPoolExecutor(1) as pool, pytest.raises(StartFailed, match="already in use"):
        pool.submit(Nardis().listen).result()
