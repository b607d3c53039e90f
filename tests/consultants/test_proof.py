"""The proof of tests/consultants_proof in short, on one whole stack: sockets cut and resumed, claims at one moment."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.consultants_proof import claims, sockets
from tests.consultants_proof.stack import ConsultantStack

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]
CONSULTANTS, CUSTOMERS, ROUNDS = 8, 10, 5


@pytest.fixture(scope="module")
def stack() -> Iterator[ConsultantStack]:
    with ConsultantStack(lambda _: [{}] * CONSULTANTS) as started:
        yield started


def test_every_consultant_gets_every_customer_once_sockets_cut_or_not(stack: ConsultantStack) -> None:
    left_alone, cut = asyncio.run(sockets.runs(stack, customers=CUSTOMERS, per_second=5))
    assert left_alone.problems() + cut.problems() == []
    assert (left_alone.frames, cut.frames) == (CONSULTANTS * CUSTOMERS, CONSULTANTS * CUSTOMERS)
    assert cut.cuts > 0


def test_of_many_claims_at_one_moment_one_wins_and_the_others_are_told_who(stack: ConsultantStack) -> None:
    result = asyncio.run(claims.runs(stack, rounds=ROUNDS))
    assert result.problems() == []
    assert (result.rounds, result.one_winner, result.told_by_whom) == (ROUNDS, ROUNDS, ROUNDS * (CONSULTANTS - 1))
