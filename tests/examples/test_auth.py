"""examples/auth.py: a bearer token, and name and password, as plain middlewares."""

from __future__ import annotations

import json
import subprocess
import time

import jwt
import pytest

from examples import auth
from nardis.testing import Client

TARGET = "examples/auth.py:app"
SECRET = "a secret of the tests, " * 3
STATUS = ("--output", "/dev/null", "--write-out", "%{http_code} %{size_upload}")
MIB = 1024 * 1024


def token(secret=SECRET, algorithm="HS256", **claims):
    return jwt.encode({"sub": "alice", "exp": int(time.time()) + 60, **claims}, secret, algorithm)


def run(client):
    output, _ = client.communicate()
    return output.decode()


def test_a_name_and_a_password_give_a_token_that_lets_an_upload_in(serve, curl, tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(3 * MIB))

    with serve(TARGET, SECRET=SECRET) as server:
        given = run(curl("--user", "alice:wonderland", f"{server.url}/account/token"))
        answer = run(
            curl("-T", str(path), "-H", f"Authorization: Bearer {given}", f"{server.url}/api/files")
        )

    assert json.loads(answer) == {"user": "alice", "bytes": 3 * MIB}


@pytest.mark.parametrize("user", ["alice:wrong", "alice:", "bob:wonderland", ":"])
def test_another_name_or_password_gives_none(serve, curl, user):
    with serve(TARGET) as server:
        assert run(curl("--user", user, *STATUS, f"{server.url}/account/token")) == "401 0"


def test_an_upload_without_a_token_is_refused_while_nothing_of_it_was_sent(serve, curl):
    """The client has a body that never ends, and begins with nothing."""
    with serve(TARGET) as server:
        client = curl(
            "-T",
            ".",
            "--write-out",
            "%{http_code}",
            f"{server.url}/api/files",
            stdin=subprocess.PIPE,
        )
        given = client.feed(b"")
        assert b"401" in client.stdout.read()
        assert len(given) < 100  # what woke curl up to look


@pytest.mark.parametrize(
    "field",
    [
        None,
        "Basic YWxpY2U6d29uZGVybGFuZA==",
        "Bearer",
        "Bearer x.y.z",
        f"Bearer {token(exp=1)}",
        f"Bearer {token(secret='another secret of the tests, of at least 32 bytes')}",
        f"Bearer {jwt.encode({'sub': 'alice'}, SECRET, 'HS256')}",
        f"Bearer {token(algorithm='HS512')}",
        f"Bearer {token(secret='', algorithm='none')}",
    ],
    # Not what the tokens are: they hold the time, and each process has its own.
    ids=["none", "basic", "empty", "x.y.z", "old", "secret", "endless", "algorithm", "unsigned"],
)
@pytest.mark.anyio
async def test_nothing_of_the_body_is_read_without_a_token(field, monkeypatch):
    """
    The answer is 401 with the challenge.

    The token is missing, of another scheme, not one of ours, too old, or of an algorithm that we
    do not use.
    """
    monkeypatch.setattr(auth, "SECRET", SECRET)
    headers = {"authorization": field} if field else {}

    async with (
        Client(auth.app) as client,
        client.stream("PUT", "/api/files", headers=headers) as response,
    ):
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith('Bearer realm="api"')
        assert response.headers["connection"] == "close"
        assert (
            b"401" in await response.read()
        )  # all of it is here, and of the body nothing has been sent
        assert response.complete


@pytest.mark.parametrize("field", ["", "Basic", "Basic ?", "Basic /w==", "Bearer x"])
@pytest.mark.anyio
async def test_a_field_without_name_and_password_is_challenged(field):
    async with Client(auth.app) as client:
        response = await client.get("/account/token", headers={"authorization": field})

    assert (response.status_code, response.headers["www-authenticate"]) == (
        401,
        'Basic realm="account", charset="UTF-8"',
    )


@pytest.mark.anyio
async def test_a_token_is_not_kept_by_caches():
    async with Client(auth.app) as client:
        response = await client.get(
            "/account/token", headers={"authorization": "Basic YWxpY2U6d29uZGVybGFuZA=="}
        )

    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert jwt.decode(response.text, auth.SECRET, ["HS256"])["sub"] == "alice"
