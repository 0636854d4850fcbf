"""`mime_type`: the Content-Type for an extension or a type, as Express's `res.type` gives it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http import media_types
from nardis._http.media_types import mime_type


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [
        ("json", "application/json; charset=utf-8"),
        ("html", "text/html; charset=utf-8"),
        (".html", "text/html; charset=utf-8"),
        ("HTML", "text/html; charset=utf-8"),
        ("txt", "text/plain; charset=utf-8"),
        ("js", "text/javascript; charset=utf-8"),
        ("css", "text/css; charset=utf-8"),
        ("webmanifest", "application/manifest+json; charset=utf-8"),
        ("xml", "application/xml"),
        ("svg", "image/svg+xml"),
        (".png", "image/png"),
        ("png", "image/png"),
        ("report.pdf", "application/pdf"),
        ("a.tar.gz", "application/gzip"),
        ("py", "text/x-python; charset=utf-8"),
        # What some Pythons of ours lack, or name otherwise.
        ("mkv", "video/matroska"),
        ("scene.glb", "model/gltf-binary"),
        ("rst", "text/x-rst; charset=utf-8"),
        ("bogus", "application/octet-stream"),
        ("", "application/octet-stream"),
        (".", "application/octet-stream"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("Text/Plain ; format=flowed", "Text/Plain ; format=flowed; charset=utf-8"),
        ("text/html; Charset=iso-8859-1", "text/html; Charset=iso-8859-1"),
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        ("application/json", "application/json; charset=utf-8"),
        ("application/javascript", "application/javascript; charset=utf-8"),
        ("application/problem+json", "application/problem+json"),
        ("image/png", "image/png"),
    ],
)
def test_an_extension_or_a_type_becomes_a_content_type(given_type: str, expected: str) -> None:
    assert mime_type(given_type) == expected


def test_importing_media_types_does_not_import_the_type_registry() -> None:
    """Start-up pays for what every program uses, and `mimetypes` reads files on its first use."""
    code = (
        "import sys, types\n"
        # so that only what the module imports is imported
        "nardis = sys.modules['nardis'] = types.ModuleType('nardis')\n"
        f"nardis.__path__ = [{str(Path(media_types.__file__).parents[1])!r}]\n"
        "import nardis._http.media_types\n"
        "sys.exit(bool({'ipaddress', 'mimetypes'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-S", "-c", code], check=False).returncode == 0


@given(st.text())
def test_any_text_gives_a_type(text: str) -> None:
    assert "/" in mime_type(text)
