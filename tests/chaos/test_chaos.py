"""
Cancel everything everywhere: no task, no file and no warning is left, and no response lies.

`pytest --log-cli-level=INFO` shows the number of points of each scenario.
"""

from __future__ import annotations

import logging

import pytest

from .harness import MOST_POINTS, no_warnings, run
from .scenarios import FILE, SCENARIOS, World

pytestmark = pytest.mark.anyio

logger = logging.getLogger(__name__)

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("chaos") / "file"
    path.write_bytes(FILE)
    return path


async def points_of(scenario, path, kind, *, watched):
    """
    Make trouble at each point, until the scenario is through before it; give the number of points.
    """
    at = 1
    call = await run(scenario, World(path), at, kind, watched=watched)
    while (
        not call.points or call.points >= at
    ):  # no points: the trouble came out of the application
        at += 1
        assert at < MOST_POINTS, "it does not come to an end"
        call = await run(scenario, World(path), at, kind, watched=watched)
    assert (call.status, call.body, call.final, call.error) == (*scenario.answers[0], True, None)
    return call.points


@every_scenario
async def test_without_trouble_a_scenario_gives_its_answer(scenario, path):
    with no_warnings():
        call = await run(scenario, World(path), 0, "cancel")

    assert (call.status, call.body, call.final, call.error) == (*scenario.answers[0], True, None)


@pytest.mark.parametrize("watched", [False, True], ids=["unwatched", "watched"])
@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        pytest.param(scenario, kind, id=f"{scenario.name}-{kind}")
        for scenario in SCENARIOS
        for kind in ("cancel", "disconnect", *(["deadline"] if scenario.lifespan else []))
    ],
)
async def test_trouble_at_every_point(scenario, kind, watched, path):
    """
    The server cancels, the client leaves, a limit runs out: at each yield of the application to the
    event loop.
    """
    with no_warnings():
        points = await points_of(scenario, path, kind, watched=watched)

    logger.info("%s, %s: %d points", scenario.name, kind, points)
    assert points >= 2


@every_scenario
async def test_the_client_leaves_before_between_and_after_the_messages_of_its_request(
    scenario, path
):
    with no_warnings():
        for before in range(len(scenario.messages) + 1):
            for watched in (False, True):
                await run(scenario, World(path), 0, "cancel", watched=watched, before=before)
