"""The event loop of the asyncio worker goes on, whatever leaves a task."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from nardis.server.loops import steady_loop


@pytest.mark.parametrize("in_main_thread", [True, False])
@pytest.mark.parametrize("fault", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_exit_that_leaves_a_task_ends_that_task_alone(fault, in_main_thread):
    async def fails():
        raise fault

    async def goes_on():
        failing = asyncio.ensure_future(fails())
        await asyncio.wait([failing])
        return failing.exception()

    def run():
        with asyncio.Runner(loop_factory=steady_loop) as runner:
            return runner.run(goes_on())

    with ThreadPoolExecutor() as pool:
        assert (run() if in_main_thread else pool.submit(run).result()) is fault
