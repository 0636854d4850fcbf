"""`nardis.server.Config`: what is refused before anything is bound."""

import dataclasses
import math

import pytest

from nardis import UsageError
from nardis.server import Config
from nardis.server.config import settings


def test_the_defaults_serve_on_this_machine_alone_with_trio():
    config = Config()

    assert (list(config.bind), config.backend) == (["127.0.0.1:3000"], "trio")
    assert (config.drain_s, config.graceful_s) == (10, 15)


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


@pytest.mark.parametrize(
    ("drain", "graceful", "said"),
    [
        (5, 4, "graceful_s=4 includes drain_s=5"),
        (-1, 5, "drain_s=-1 will not do"),
        (-2, -1, "drain_s=-2 will not do"),
        (math.nan, 5, "drain_s=nan will not do"),
        (1, math.nan, "graceful_s=nan will not do"),
        (1, math.inf, "graceful_s=inf will not do"),
        ("1", 5, "drain_s='1' will not do"),
    ],
)
def test_times_that_make_no_sense_are_refused(drain, graceful, said):
    with pytest.raises(UsageError, match=said):
        Config(drain_s=drain, graceful_s=graceful)


@pytest.mark.parametrize(
    ("given", "times"),
    [
        ({"drain_s": 20}, (20, 25)),
        ({"drain_s": 12}, (12, 17)),
        ({"drain_s": 10}, (10, 15)),
        ({"drain_s": 1}, (1, 15)),
        ({"drain_s": 1_000_000}, (1_000_000, 1_000_000)),
        ({"graceful_s": 6}, (4, 6)),
        ({"graceful_s": 0}, (0, 0)),
        ({"graceful_s": 15}, (10, 15)),
        ({"graceful_s": 60}, (10, 60)),
    ],
)
def test_of_two_times_the_one_that_nobody_gave_fits_the_other(given, times):
    """
    Clean-up keeps its five seconds after a longer drain, and its third of a shorter end; a worker
    is told the same.
    """
    config = Config(**given)

    assert (config.drain_s, config.graceful_s) == times
    assert Config.from_environment(config.as_environment()) == config


def test_a_time_that_follows_goes_on_following():
    config = dataclasses.replace(Config(drain_s=20), drain_s=3)

    assert (config.drain_s, config.graceful_s) == (3, 15)


def test_a_time_that_was_given_is_handed_on_also_where_it_is_the_default():
    """A worker would take it for one that follows."""
    config = Config(drain_s=10.0, graceful_s=12)

    assert Config.from_environment(config.as_environment()) == config


@pytest.mark.parametrize("bind", ["127.0.0.1:0", []])
def test_bind_is_a_list_of_addresses(bind):
    """A bare string would be taken letter by letter, and nothing at all would serve nobody."""
    with pytest.raises(UsageError, match="bind"):
        Config(bind=bind)


@pytest.mark.parametrize("name", ["write_stall_s", "keep_alive_s", "head_s", "body_idle_s"])
@pytest.mark.parametrize("value", [0, -1, math.nan, "1"])
def test_times_that_never_come_are_refused(name, value):
    with pytest.raises(UsageError, match=name):
        Config(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("workers", "head_bytes", "max_connections", "max_in_flight", "backlog")
            for value in (0, -1, 1.5, "2")
        ),
        ("max_requests", 0),
        ("max_requests", -1),
        ("max_requests_jitter", -1),
    ],
)
def test_counts_that_make_no_sense_are_refused(name, value):
    with pytest.raises(UsageError, match=name):
        Config(**{name: value})


@pytest.mark.parametrize("bind", [[3000], [b"127.0.0.1:0"], [None]])
def test_an_address_is_a_text(bind):
    with pytest.raises(UsageError, match="bind"):
        Config(bind=bind)


def test_the_access_log_has_two_forms():
    with pytest.raises(UsageError, match="'text' or 'json'"):
        Config(access_log="xml")


@pytest.mark.parametrize("given", [{"certfile": "chain.pem"}, {"keyfile": "key.pem"}])
def test_tls_needs_a_certificate_and_its_key(given):
    with pytest.raises(UsageError, match="both"):
        Config(**given)


# --- the environment ------------------------------------------------------------------------------

# For each setting: what its variable may say, and what that means.
SAID = {
    "bind": (
        "127.0.0.1:1, [::1]:2,unix:/run/site.sock,fd://3",
        ("127.0.0.1:1", "[::1]:2", "unix:/run/site.sock", "fd://3"),
    ),
    "backend": ("asyncio", "asyncio"),
    "workers": ("3", 3),
    "drain_s": ("0.5", 0.5),
    "graceful_s": ("20", 20.0),
    "write_stall_s": ("7", 7.0),
    "keep_alive_s": ("7.5", 7.5),
    "head_s": ("8", 8.0),
    "body_idle_s": ("9", 9.0),
    "head_bytes": ("16384", 16384),
    "max_connections": ("5", 5),
    "max_in_flight": ("6", 6),
    "max_requests": ("1000", 1000),
    "max_requests_jitter": ("100", 100),
    "backlog": ("10", 10),
    "http2": ("1", False),  # of --no-http2
    "ws_ping_s": ("5", 5.0),
    "ws_compression": ("1", True),
    "reuse_port": ("1", True),
    "certfile": ("/etc/chain.pem", "/etc/chain.pem"),
    "keyfile": ("/etc/key.pem", "/etc/key.pem"),
    "keyfile_password": ("a, b=c", "a, b=c"),
    "access_log": ("json", "json"),
    "trust_proxy": ("loopback,10.0.0.0/8", "loopback,10.0.0.0/8"),
    "root_path": ("/site", "/site"),
}
ALL = pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)


def test_each_setting_has_a_flag_and_a_variable():
    """Nothing but what can only be said in Python is without."""
    named = [setting.name for setting in settings()]

    assert named == list(SAID)
    assert {field.name for field in dataclasses.fields(Config)} - set(named) == {"ready"}
    assert {setting.variable for setting in settings()} == {
        "NARDIS_" + setting.flag[2:].replace("-", "_").upper() for setting in settings()
    }


@ALL
def test_a_variable_says_what_its_flag_says(setting):
    """And a config that was made of one can be handed on by it, as it is to a worker."""
    text, value = SAID[setting.name]
    environment = {setting.variable: text, "PATH": "/bin", "NARDIS_OBSERVED": "is not one of ours"}
    if setting.name in ("certfile", "keyfile"):  # neither goes without the other
        environment = {
            name.variable: SAID[name.name][0]
            for name in settings()
            if name.name in ("certfile", "keyfile")
        }
    config = Config.from_environment(environment)

    assert getattr(config, setting.name) == value
    assert value != setting.default
    assert Config.from_environment(config.as_environment()) == config
    assert setting.variable in config.as_environment()


@pytest.mark.parametrize(
    ("text", "trust"), [("2", 2), ("0", 0), ("true", True), ("loopback", "loopback")]
)
def test_trust_in_proxies_is_a_number_or_names(text, trust):
    config = Config.from_environment({"NARDIS_TRUST_PROXY": text})

    assert config.trust_proxy == trust
    assert Config.from_environment(config.as_environment()) == config


def test_a_list_of_proxies_can_be_handed_on():
    config = Config(trust_proxy=["loopback", "10.0.0.0/8"])

    assert Config.from_environment(config.as_environment()) == config
    assert config.trust_proxy == "loopback,10.0.0.0/8"


@pytest.mark.parametrize("trust", ["nonsense", -1, ["10.0.0.1/99"], 1.5])
def test_trust_in_nonsense_is_refused(trust):
    with pytest.raises(UsageError):
        Config(trust_proxy=trust)


def test_all_of_them_at_once_can_be_handed_on():
    config = Config(**{name: value for name, (_, value) in SAID.items()})

    assert Config.from_environment(config.as_environment()) == config
    assert len(config.as_environment()) == len(SAID)


def test_what_is_as_by_default_is_not_handed_on():
    assert Config().as_environment() == {}
    assert Config.from_environment({}) == Config()


@ALL
def test_what_is_given_beats_its_variable(setting):
    config = Config.from_environment(
        {setting.variable: SAID[setting.name][0]}, **{setting.name: setting.default}
    )

    assert getattr(config, setting.name) == setting.default


@ALL
def test_an_empty_variable_says_nothing(setting):
    """As many who start processes cannot unset one."""
    assert Config.from_environment({setting.variable: ""}) == Config()


@pytest.mark.parametrize(
    "said",
    [
        "NARDIS_WORKERS=many",
        "NARDIS_WORKERS=0",
        "NARDIS_WORKERS=-1",
        "NARDIS_WORKERS=1.5",
        "NARDIS_DRAIN=soon",
        "NARDIS_DRAIN=-1",
        "NARDIS_GRACEFUL=inf",
        "NARDIS_KEEP_ALIVE=0",
        "NARDIS_BIND=,",
        "NARDIS_BACKEND=uvloop",
        "NARDIS_NO_HTTP2=perhaps",
        "NARDIS_REUSE_PORT=2",
        "NARDIS_ACCESS_LOG=xml",
        "NARDIS_MAX_REQUESTS=0",
        "NARDIS_MAX_REQUESTS_JITTER=x",
        "NARDIS_HEAD_BYTES=32k",
    ],
)
def test_a_variable_that_cannot_be_read_is_named(said):
    variable, _, text = said.partition("=")
    with pytest.raises(UsageError, match=f"{variable}='{text}'") as caught:
        Config.from_environment({variable: text})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("No", False)],
)
def test_a_switch_can_be_said_in_words(text, value):
    assert Config.from_environment({"NARDIS_REUSE_PORT": text}).reuse_port is value
    assert Config.from_environment({"NARDIS_NO_HTTP2": text}).http2 is not value


def test_the_environment_is_that_of_the_process(monkeypatch):
    monkeypatch.setenv("NARDIS_ROOT_PATH", "/here")

    assert Config.from_environment().root_path == "/here"
