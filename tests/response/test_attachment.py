"""`res.attachment()`: Content-Disposition (RFC 6266)."""

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("filename", "disposition", "content_type"),
    [
        (None, "attachment", "application/octet-stream"),
        ("plans.pdf", "attachment; filename=plans.pdf", "application/pdf"),
        ("a/b/notes.txt", "attachment; filename=notes.txt", "text/plain; charset=utf-8"),
        ("C:\\tmp\\x.json", "attachment; filename=x.json", "application/json; charset=utf-8"),
        ("unknown.zzz", "attachment; filename=unknown.zzz", "application/octet-stream"),
        ("Makefile", "attachment; filename=Makefile", "application/octet-stream"),
        (
            "€.txt",
            "attachment; filename=\"?.txt\"; filename*=UTF-8''%E2%82%AC.txt",
            "text/plain; charset=utf-8",
        ),
    ],
)
async def test_attachment_names_the_file_and_its_type(serve, filename, disposition, content_type):
    async def handler(req, res):
        assert res.attachment(filename) is res
        await res.send(b"x")

    response = await serve(handler)
    assert response.headers["content-disposition"] == disposition
    assert response.headers["content-type"] == content_type


async def test_no_name_can_end_the_field(serve):
    async def handler(req, res):
        await res.attachment('a"\r\nset-cookie: x=1').send(b"x")

    response = await serve(handler)
    assert response.headers["content-disposition"].startswith("attachment; filename=")
    assert "set-cookie" not in response.headers
