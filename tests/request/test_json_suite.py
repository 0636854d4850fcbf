"""`await req.json()` reads JSON as the JSONTestSuite has it, and what it reads can be sent back."""

import json
from pathlib import Path
from typing import Any

import pytest

from nardis import Nardis
from nardis.testing import Client

pytestmark = pytest.mark.anyio

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "json_parsing.json").read_text())[
    "cases"
]


class Model:
    """Takes all that Python's decoder does, infinity and surrogates included."""

    @classmethod
    def model_validate_json(cls, body):
        return json.loads(body)


def echo(type_=None, codec=None):
    """An application that sends back the JSON it got."""
    app = Nardis(json=codec)

    @app.post("/")
    async def handler(req, res):
        await res.json(await req.json(type_))

    return app


def is_fine(response, body, verdict):
    """Whether a case was rightly taken or refused; an echo means the same as what was sent."""
    if response.status_code == 200:
        return verdict != "no" and json.loads(response.content.decode()) == json.loads(body)
    return verdict != "yes" and response.status_code == 400


@pytest.mark.parametrize(
    ("type_", "codec"),
    [
        pytest.param(None, None, id="plain"),
        pytest.param(None, json, id="codec"),
        pytest.param(Model, None, id="model"),
        pytest.param(Any, None, id="msgspec"),
    ],
)
@pytest.mark.parametrize("verdict", ["yes", "no", "either"])
async def test_each_case_is_taken_or_refused_and_no_echo_fails(verdict, type_, codec):
    """
    A case that any reader may refuse is either a 400 or echoed.

    For msgspec a number too great is a 422.
    """
    cases = [case for case in CASES if case["verdict"] == verdict]
    bodies = [case["input"].encode("latin-1") * case.get("times", 1) for case in cases]

    async with Client(echo(type_, codec)) as client:
        responses = [
            await client.post("/", content=body, headers={"content-type": "application/json"})
            for body in bodies
        ]

    wrong = [
        (case["name"], response.status_code, response.content[:60])
        for case, body, response in zip(cases, bodies, responses, strict=True)
        if not is_fine(response, body, verdict)
    ]
    if type_ is Any:
        wrong = [each for each in wrong if each[1] != 422 or b"out of range" not in each[2]]
    assert wrong == []


def test_the_suite_is_whole():
    """318 cases of its parsing tests, and the 22 of its transform tests, where a reader is free."""
    counts = {
        verdict: sum(case["verdict"] == verdict for case in CASES)
        for verdict in ("yes", "no", "either")
    }

    assert counts == {"yes": 95, "no": 188, "either": 35 + 22}
    assert len({case["name"] for case in CASES}) == len(CASES)
