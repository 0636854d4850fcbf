"""The command line: what it prints, and with which status it ends."""

import gc
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import traceback

import pytest

from nardis import UsageError
from nardis._cli.parser import main
from nardis._version import __version__
from nardis.errors import StartFailed
from nardis.server import Config
from nardis.server.config import settings
from nardis.server.logs import set_up_logs
from nardis.server.notices import notify_systemd

APP = """
from nardis import Nardis
app = Nardis()

@app.get("/")
async def index(req, res):
    await res.send("hello")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in an empty folder; what is imported from there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield tmp_path
    for name in [name for name in set(sys.modules) - before if name.startswith("site_")]:
        del sys.modules[name]


def nardis(*args, cwd):
    """Run the command as a shell does."""
    return subprocess.run(
        [sys.executable, "-m", "nardis", *args], cwd=cwd, capture_output=True, text=True, timeout=50
    )


def lines(text):
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["nosuch"],
        ["serve"],
        ["serve", "x:app", "--backend", "uvloop"],
        ["serve", "x", "--drain", "soon"],
    ],
)
def test_wrong_arguments_are_explained(args, capsys):
    """As argparse does it: usage, and status 2."""
    with pytest.raises(SystemExit) as caught:
        main(args)

    assert caught.value.code == 2
    assert "usage: nardis" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "text", "told"),
    [
        ("--workers", "0", "write a whole number, at least 1"),
        ("--workers", "x", "write a whole number, at least 1"),
        ("--max-requests", "1.5", "write a whole number, at least 1"),
        ("--max-requests-jitter", "-1", "write a whole number, at least 0"),
        ("--drain", "-1", "write a number of seconds, at least 0, at most 1,000,000"),
        ("--keep-alive", "0", "write a number of seconds above 0, at most 1,000,000"),
    ],
)
def test_a_number_that_will_not_do_is_a_sentence(flag, text, told, capsys):
    """Below a line of usage; status 2."""
    with pytest.raises(SystemExit) as caught:
        main(["serve", "site_app", flag, text])

    assert caught.value.code == 2
    _, sentence = lines(capsys.readouterr().err)
    assert sentence == f"nardis serve: error: argument {flag}: {text!r} will not do: {told}"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["serve", "site_app", "--nosuch", "1"], "unrecognized arguments: --nosuch 1"),
        (
            ["serve", "site_app", "--access-log", "xml"],
            "argument --access-log: invalid choice: 'xml' (choose from text, json)",
        ),
        (
            ["serve", "--access-log", "xml", "site_app"],
            "argument --access-log: invalid choice: 'xml' (choose from text, json)",
        ),
        (["demo", "site_app"], "unrecognized arguments: site_app"),
    ],
)
def test_what_is_too_much_is_told_with_the_usage_of_the_command(args, told, capsys):
    with pytest.raises(SystemExit) as caught:
        main(args)

    assert caught.value.code == 2
    usage, sentence = lines(capsys.readouterr().err)
    assert usage.startswith(f"usage: nardis {args[0]} [SETTINGS]")
    assert sentence == f"nardis {args[0]}: error: {told}"


def test_routes_lists_method_path_and_name_of_each(folder, capsys):
    """In the order in which they are asked, those of the routers inside as well."""
    (folder / "site_app.py").write_text(
        APP
        + """
from nardis import Router
api = Router()
app.get("/users/:id", index, name="user")
api.all("/ping", index)
app.use("/api", api)
shop = Router(host="shop.example")
shop.post("/cart", index, name="")
app.use(shop)
app.websocket("/live", index)
"""
    )

    assert main(["routes", "site_app"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "GET        /                  index",
        "GET        /users/:id         user",
        "*          /api/ping          index",
        "POST       shop.example/cart",
        "WEBSOCKET  /live              index",
    ]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("from nardis import Nardis\napp = Nardis()", 0, ""),
        (
            "async def app(scope, receive, send): pass",
            1,
            "nardis: 'site_app' is no Nardis application: its routes are not known\n",
        ),
    ],
    ids=["no routes", "another's"],
)
def test_without_routes_there_is_nothing_to_list(folder, capsys, text, status, said):
    (folder / "site_app.py").write_text(text)

    assert main(["routes", "site_app"]) == status
    assert capsys.readouterr() == ("", said)


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out == f"nardis {__version__}\n"


@pytest.mark.parametrize("args", [["--help"], ["serve", "--help"], ["demo", "--help"]])
def test_help_is_help(args, capsys):
    with pytest.raises(SystemExit) as caught:
        main(args)

    assert caught.value.code == 0
    assert "usage: nardis" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["serve", "site_nosuch:app"], "site_nosuch"),
        (["serve", "site_app:nosuch"], "nosuch"),
        (["serve", "site_app.py:nosuch"], "nosuch"),
        (["serve", "site_broken:app"], "nosuchdependency"),
        (["serve", "site_failing:app"], "division by zero"),
        (["serve", "site_app", "--drain", "5", "--graceful", "1"], "graceful"),
        (["serve", "site_app", "--bind", "127.0.0.1:port"], "port"),
        (["serve", "site_app", "--bind", "nonsense"], "HOST:PORT"),
        (["serve", "site_app", "--bind", "fd://x"], "fd://N"),
        (["serve", "site_app", "--bind", "unix:"], "unix:PATH"),
        (["serve", "site_app", "--bind", "127.0.0.1:99999"], "99999"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(folder, capsys, args, told):
    """Three at most, no traceback, status 1."""
    (folder / "site_app.py").write_text(APP)
    (folder / "site_broken.py").write_text("import nosuchdependency\n")
    (folder / "site_failing.py").write_text("1 / 0\n")

    assert main(args) == 1
    # a socket that was left open is told of here, and not in the test that happens to come next
    gc.collect()
    said = capsys.readouterr().err
    assert told in said
    assert len(lines(said)) <= 3
    assert "Traceback" not in said


def test_settings_that_do_not_fit_together_name_no_line_of_a_program(folder, capsys):
    """The check runs in the generated `__init__` of `Config`, which no program wrote."""
    assert main(["serve", "site_app", "--drain", "5", "--graceful", "2"]) == 1
    said = capsys.readouterr().err
    assert said.endswith("so it cannot be less (--graceful and --drain)\n")


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_port_in_use_is_one_line(tmp_path, backend):
    """Status 1, no traceback, in a process of its own."""
    (tmp_path / "site_app.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = nardis(
            "serve",
            "site_app:app",
            "--bind",
            f"127.0.0.1:{port}",
            "--backend",
            backend,
            cwd=tmp_path,
        )

    assert done.returncode == 1
    assert len(lines(done.stderr)) == 1
    assert "Traceback" not in done.stderr
    assert str(port) in done.stderr


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_startup_that_fails_is_three_lines_at_most(tmp_path, backend):
    (tmp_path / "site_app.py").write_text(
        APP
        + "\n@app.lifespan\nasync def lifespan(app):\n"
        + "    raise ConnectionError('no database')\n    yield\n"
    )
    done = nardis(
        "serve", "site_app:app", "--bind", "127.0.0.1:0", "--backend", backend, cwd=tmp_path
    )

    assert done.returncode > 0
    assert "no database" in done.stderr
    assert len(lines(done.stderr)) <= 3
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a process are those of POSIX")
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_server_with_status_0(tmp_path, backend, name):
    """It says where it listens, serves, and ends without a complaint."""
    (tmp_path / "site_app.py").write_text(APP)
    command = [
        sys.executable,
        "-m",
        "nardis",
        "serve",
        "site_app",
        "--bind",
        "127.0.0.1:0",
        "--backend",
        backend,
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            said = server.stderr.readline()
            port = int(said.split("http://127.0.0.1:")[1].split()[0])
            assert backend in said
            answer = fetch(port)
            server.send_signal(getattr(signal, name))
            rest = server.stderr.read()
            status = server.wait(timeout=20)
        finally:
            server.kill()

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"hello")
    assert [line for line in lines(rest) if " INFO " not in line] == []
    assert status == 0


def fetch(port):
    """Ask for / and read to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_an_import_that_fails_names_the_line_of_the_program(folder, capsys):
    """The last one that is the program's own: neither Python's nor that of a package."""
    (folder / "site_app.py").write_text("import site_settings\n")
    (folder / "site_settings.py").write_text("import os\nKEY = os.environ['NARDIS_NO_SUCH']\n")

    assert main(["serve", "site_app"]) == 1

    assert capsys.readouterr().err == (
        "nardis: KeyError: 'NARDIS_NO_SUCH' (site_settings.py, line 2); "
        "--debug shows the traceback\n"
    )


def test_a_syntax_error_names_its_line_once(folder, capsys):
    (folder / "site_app.py").write_text("import site_settings\n")
    (folder / "site_settings.py").write_text("KEY = = 1\n")

    assert main(["serve", "site_app"]) == 1

    assert capsys.readouterr().err == (
        "nardis: SyntaxError: invalid syntax (site_settings.py, line 1)\n"
    )


FAILS = """
from nardis import Nardis
app = Nardis()

@app.lifespan
async def lifespan(given):
    raise ConnectionError("no database")
    yield
"""


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("mounted", [False, True], ids=["served", "mounted"])
def test_a_lifespan_that_fails_names_its_line_and_debug_shows_it(folder, capsys, backend, mounted):
    """Also through the lifespan of the application that it is mounted in."""
    (folder / "site_inner.py").write_text(FAILS)
    (folder / "site_app.py").write_text(
        "from nardis import Nardis\nfrom site_inner import app as inner\n"
        "app = Nardis()\napp.mount('/', inner)\n"
    )
    target = "site_app" if mounted else "site_inner"
    command = ["serve", target, "--backend", backend, "--bind", "127.0.0.1:0"]

    assert main(command) == 1
    assert capsys.readouterr().err.endswith(
        "ConnectionError: no database (site_inner.py, line 7); --debug shows the traceback\n"
    )

    with pytest.raises(StartFailed) as caught:
        main([*command, "--debug"])
    assert "in lifespan" in "".join(traceback.format_exception(caught.value))


def test_debug_shows_the_traceback_of_a_failed_start(folder):
    with pytest.raises(UsageError, match="site_nosuch"):
        main(["serve", "site_nosuch:app", "--debug"])


def test_help_names_each_setting(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])

    said = capsys.readouterr().out
    for setting in settings():
        assert f" {setting.flag}" in said


@pytest.fixture
def config_of(folder, monkeypatch):
    """Return a function that returns the config of arguments and the environment."""
    seen = []
    monkeypatch.setattr(
        "nardis._cli.parser.run", lambda target, config, **options: seen.append((target, config))
    )

    def config_of(*args):
        assert main(["serve", *args]) == 0
        [(target, config)] = seen
        assert target == "site_app:app"
        return config

    return config_of


def test_flags_make_a_config(config_of):
    flags = (
        "--bind [::1]:1 --bind unix:socket --backend asyncio --workers 3 --drain 0.5 "
        "--graceful 20 --write-stall 7 "
        "--keep-alive 7.5 --head-timeout 8 --body-idle 9 --head-bytes 16384 "
        "--max-connections 5 --max-in-flight 6 "
        "--max-requests 1000 --max-requests-jitter 100 --backlog 10 --no-http2 --reuse-port "
        "--ws-ping 5 --ws-compression "
        "--certfile chain.pem --keyfile key.pem --keyfile-password x --access-log json "
        "--trust-proxy 2 --root-path /site"
    )
    config = config_of(*flags.split(), "site_app:app")

    assert config == Config(
        bind=["[::1]:1", "unix:socket"],
        backend="asyncio",
        workers=3,
        drain_s=0.5,
        graceful_s=20,
        write_stall_s=7,
        keep_alive_s=7.5,
        head_s=8,
        body_idle_s=9,
        head_bytes=16384,
        max_connections=5,
        max_in_flight=6,
        max_requests=1000,
        max_requests_jitter=100,
        backlog=10,
        http2=False,
        ws_ping_s=5,
        ws_compression=True,
        reuse_port=True,
        certfile="chain.pem",
        keyfile="key.pem",
        keyfile_password="x",
        access_log="json",
        trust_proxy=2,
        root_path="/site",
    )
    assert {flag for flag in flags.split() if flag.startswith("--")} == {
        setting.flag for setting in settings()
    }


def test_a_flag_beats_its_variable(config_of, monkeypatch):
    monkeypatch.setenv("NARDIS_DRAIN", "1")
    monkeypatch.setenv("NARDIS_GRACEFUL", "8")
    config = config_of("site_app:app", "--drain", "2")

    assert (config.drain_s, config.graceful_s) == (2, 8)


@pytest.mark.parametrize(
    "args",
    [
        ["--access-log", "site_app:app"],
        ["site_app:app", "--access-log"],
        ["--access-log=text", "site_app:app"],
    ],
)
def test_the_access_log_is_text_if_nobody_says(config_of, args):
    """Also right before the application's name, which is no form of a log."""
    assert config_of(*args).access_log == "text"


@pytest.mark.parametrize(
    "said",
    ["NARDIS_WORKERS=0", "NARDIS_BACKEND=uvloop", "NARDIS_DRAIN=-1", "NARDIS_NO_HTTP2=perhaps"],
)
def test_a_variable_that_cannot_be_is_one_line(folder, monkeypatch, capsys, said):
    """
    Of a value that cannot be read the variable is named, of one that does not fit the setting.
    """
    variable, _, text = said.partition("=")
    monkeypatch.setenv(variable, text)

    assert main(["serve", "site_app:app"]) == 1
    [line] = lines(capsys.readouterr().err)
    assert text in line


@pytest.mark.skipif(
    sys.platform != "linux", reason="systemd is Linux's, and so are sockets without a path"
)
@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path, monkeypatch, abstract):
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(20)
        systemd.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        notify_systemd("READY=1")

        assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "{folder}/nosuch"])
def test_where_no_systemd_listens_nothing_is_said(tmp_path, monkeypatch, address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"{tmp_path}/notify")
        other.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address.format(folder=tmp_path))
        notify_systemd("READY=1")

        with pytest.raises(BlockingIOError):
            other.recv(100)
        assert [each.name for each in tmp_path.iterdir()] == ["notify"]


@pytest.fixture
def loggers():
    """Return our loggers as a fresh process has them; they are as before in the end."""
    ours = [
        logging.getLogger("nardis"),
        logging.getLogger("nardis.access"),
        logging.getLogger("nardis.lifecycle"),
    ]
    names = ("handlers", "level", "propagate", "parent")
    before = [{name: getattr(each, name) for name in names} for each in ours]
    for each in ours:
        each.handlers, each.propagate = [], True
        each.setLevel(logging.NOTSET)
    ours[0].parent = logging.RootLogger(
        logging.WARNING
    )  # of a process in which nobody has set up logging
    yield ours
    for each, values in zip(ours, before, strict=True):
        vars(each).update(values)
        each.setLevel(values["level"])


def test_without_logging_of_its_own_an_application_has_ours(loggers, capsys):
    """
    Errors and what begins or ends to standard error, with the time; the access log, bare, to
    standard output.
    """
    ours, access, lifecycle = loggers
    set_up_logs(Config(access_log="json"))
    access.info("a line")
    ours.error("a fault")
    ours.info("gossip")
    lifecycle.info("a beginning")

    said = capsys.readouterr()
    assert said.out == "a line\n"
    first, second = lines(said.err)
    assert re.fullmatch(r"[-\d]+ [:\d]+,\d{3} ERROR a fault", first)
    assert re.fullmatch(r"[-\d]+ [:\d]+,\d{3} INFO a beginning", second)


def test_the_logging_of_an_application_is_left_alone(loggers, capsys):
    ours, access, lifecycle = loggers
    ours.addHandler(logging.NullHandler())
    access.setLevel(logging.ERROR)
    set_up_logs(Config(access_log="text"))
    access.info("a line")

    assert (len(ours.handlers), access.handlers, access.level) == (1, [], logging.ERROR)
    assert not lifecycle.isEnabledFor(logging.INFO)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def existing(monkeypatch):
    """Disable all of our loggers, as `logging.config` does it with those that it is not told of."""
    manager = logging.root.manager
    ours = [name for name in manager.loggerDict if name.partition(".")[0] == "nardis"]
    for name in ours:
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    return [logging.getLogger(name) for name in ours]


def test_loggers_that_logging_config_has_disabled_are_heard(loggers, existing):
    """`dictConfig` in an application's module would hide each failure of a handler."""
    set_up_logs(Config())

    assert not any(each.disabled for each in existing)


def test_a_logger_that_somebody_has_disabled_stays_so(loggers, existing):
    for each in existing:
        each.disabled = each.name == "nardis.access"
    set_up_logs(Config(access_log="json"))

    assert [each.name for each in existing if each.disabled] == ["nardis.access"]


@pytest.mark.parametrize("name", ["nardis", "nardis.lifecycle"])
def test_a_level_that_somebody_has_set_holds_for_what_begins_and_ends(loggers, capsys, name):
    logging.getLogger(name).setLevel(logging.ERROR)
    set_up_logs(Config())
    loggers[2].info("a beginning")

    assert capsys.readouterr() == ("", "")
