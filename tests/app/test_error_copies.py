"""Errors that are copied, and that go from one process to another, as those of a pool do."""

import copy
import pickle

import pytest

from nardis import ClientDisconnected, HTTPError, errors


class Taken(HTTPError):
    def __init__(self, *, name):
        super().__init__(409, f"{name} is taken", headers={"retry-after": "1"}, name=name)


ERRORS = [
    HTTPError(status=413, detail="too large", limit=5),
    Taken(name="ann"),
    ClientDisconnected("it left", code=1001),
    errors.FolderFound(),
    errors.ForgottenAwait("send", "app.index()"),
    errors.HeadersAlreadySent("set status 404", 200),
    errors.LifespanRequired("app.tasks.start_soon()"),
    errors.NoResponse("app.index()"),
    errors.NotModified({"etag": '"1"'}),
    errors.RangeNotSatisfiable(100),
    errors.ResponseAlreadyEnded("write"),
    errors.ResponseAlreadyStarted("send a whole answer"),
]


def _through_a_pipe(error):
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, _through_a_pipe])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_copy_of_an_error_says_the_same(error, remake):
    again = remake(error)

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
