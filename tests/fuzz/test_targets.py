"""The fuzz targets hold for their seeds, and for inputs that are near to them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.fuzz import TARGETS, target_of

MUTANTS = 300

# Text that a mutation brings in, beside random bytes and what other seeds have.
WORDS = [b"\0", b"\r\n", b"\xff", b"W/", *(bytes([each]) for each in b'=-,;&%"\\* ')]


def mutants(seeds: list[bytes], count: int, random: Random) -> Iterator[bytes]:
    """Change seeds at random: bytes are left out, and others are put in their place."""
    for _ in range(count):
        data = random.choice(seeds)
        for _ in range(random.randint(1, 4)):
            start = random.randint(0, len(data))
            end = start + random.choice([0, 0, 1, 2, len(data)])
            other = random.choice(seeds)
            piece = random.choice(
                [b"", random.choice(WORDS), random.randbytes(2), other[random.randrange(99) :]]
            )
            data = data[:start] + piece + data[end:]
        yield data


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds_and_for_inputs_near_to_them(name: str) -> None:
    target = target_of(name)
    seeds = list(target.seeds())
    assert len(seeds) > 5
    for data in (b"", *seeds, *mutants(seeds, MUTANTS, Random(name))):
        target.check(data)


def test_the_mutants_are_the_same_each_time_and_differ_from_each_other() -> None:
    once, again = (list(mutants([b"abc", b"def"], 100, Random("a"))) for _ in range(2))
    assert once == again
    assert len(set(once)) > 50
