"""`nardis.server.Config`: what is refused before anything is bound."""

import dataclasses
import math

import pytest

from nardis import UsageError
from nardis.server import Config


def test_the_defaults_serve_on_this_machine_alone_with_trio():
    config = Config()

    assert (list(config.bind), config.backend) == (["127.0.0.1:3000"], "trio")
    assert 0 < config.drain_s < config.graceful_s


def test_a_config_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().drain_s = 1


def test_options_are_named():
    with pytest.raises(TypeError):
        Config(["127.0.0.1:0"])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_there_are_two_backends(backend):
    assert Config(backend=backend).backend == backend


@pytest.mark.parametrize("backend", ["uvloop", "", "Trio", None])
def test_another_backend_is_refused(backend):
    with pytest.raises(UsageError, match="'trio' or 'asyncio'"):
        Config(backend=backend)


@pytest.mark.parametrize(("drain", "graceful"), [(0, 0), (0, 5), (5, 5), (0.1, 0.2)])
def test_graceful_includes_drain(drain, graceful):
    config = Config(drain_s=drain, graceful_s=graceful)

    assert (config.drain_s, config.graceful_s) == (drain, graceful)


@pytest.mark.parametrize(("drain", "graceful"), [(5, 4), (-1, 5), (-2, -1), (math.nan, 5), (1, math.nan)])
def test_times_that_make_no_sense_are_refused(drain, graceful):
    with pytest.raises(UsageError, match="graceful_s"):
        Config(drain_s=drain, graceful_s=graceful)


@pytest.mark.parametrize("bind", ["127.0.0.1:0", []])
def test_bind_is_a_list_of_addresses(bind):
    """A bare string would be taken letter by letter, and nothing at all would serve nobody."""
    with pytest.raises(UsageError, match="bind"):
        Config(bind=bind)
