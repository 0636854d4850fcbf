"""
Let nobody in without a token, or without name and password.

Two plain middlewares, each on a router of its own:

    SECRET=a-secret-of-at-least-32-bytes-please nardis serve examples/auth.py:app

    token=$(curl -s -u alice:wonderland http://127.0.0.1:3000/account/token)
    curl -T large.bin -H "Authorization: Bearer $token" http://127.0.0.1:3000/api/files
    curl -T large.bin http://127.0.0.1:3000/api/files   # refused before its first byte is read
"""

import base64
import binascii
import hashlib
import hmac
import os
import time

import jwt
from anyio import to_thread

from nardis import HTTPError, Limits, Nardis, Next, Request, Response, Router

# Without a secret from outside, tokens last as long as this process.
SECRET = os.environ.get("SECRET") or os.urandom(32).hex()
ALGORITHM = "HS256"  # one, and not whichever the token names
TOKEN_S = 600
SALT = os.urandom(16)


def digest(password: str) -> bytes:
    """Hash a password: slow on purpose, so it belongs into a thread."""
    return hashlib.scrypt(password.encode(), salt=SALT, n=2**14, r=8, p=1)


# In earnest this is a table with a salt for each user.
PASSWORDS = {"alice": digest("wonderland")}

# Compared with where there is no such user: nothing hashes to it, and the time reveals nothing.
NOBODY = os.urandom(64)

app = Nardis(limits=Limits(streamed_body_bytes=1024**3, body_idle_s=15))
account = Router()
api = Router()
app.use("/account", account)
app.use("/api", api)


@account.use
async def basic(req: Request, res: Response, next: Next) -> None:
    """Ask for name and password (RFC 7617). Only over TLS: they are encoded, not encrypted."""
    name, password = credentials(req.get("authorization", ""))
    given = await to_thread.run_sync(digest, password)
    if not hmac.compare_digest(given, PASSWORDS.get(name, NOBODY)):
        raise HTTPError(
            401,
            "wrong name or password",
            headers={"www-authenticate": 'Basic realm="account", charset="UTF-8"'},
        )
    req.state.user = name
    await next()


def credentials(field: str) -> tuple[str, str]:
    """Take name and password out of an Authorization field; both are empty if it has none."""
    scheme, _, encoded = field.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    name, _, password = text.partition(":")
    return name, password


@api.use
async def bearer(req: Request, res: Response, next: Next) -> None:
    """Ask for a token (RFC 6750). Nothing of the body is read before `next` is called."""
    scheme, _, token = req.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        challenge = 'Bearer realm="api"'
        raise HTTPError(401, "a token is needed", headers={"www-authenticate": challenge})
    try:
        claims = jwt.decode(
            token.strip(), SECRET, algorithms=[ALGORITHM], options={"require": ["exp", "sub"]}
        )
    except jwt.InvalidTokenError as exc:
        challenge = 'Bearer realm="api", error="invalid_token"'
        raise HTTPError(
            401, "this token is not valid, or not any more", headers={"www-authenticate": challenge}
        ) from exc
    req.state.user = claims["sub"]
    await next()


@account.get("/token")
async def token(req: Request, res: Response) -> None:
    """Send a token that is good for ten minutes."""
    claims = {"sub": req.state.user, "exp": int(time.time()) + TOKEN_S}
    res.set("cache-control", "no-store")
    await res.type("text/plain").send(jwt.encode(claims, SECRET, ALGORITHM))


@api.put("/files")
async def upload(req: Request, res: Response) -> None:
    """Count what comes in, for a client that may send it."""
    size = 0
    async for chunk in req:
        size += len(chunk)
    await res.json({"user": req.state.user, "bytes": size})


if __name__ == "__main__":
    app.listen()
