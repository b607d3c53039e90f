"""Who is asked: sticky, in proportion, never somebody switched off or broken, and the template last."""

from collections import Counter
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.decision import (
    TEMPLATE,
    AgentOption,
    Candidate,
    CandidateKind,
    Gate,
    Strategy,
    VersionOption,
    candidates,
)

A, B = UUID(int=1), UUID(int=2)
A1, A2, A3, B1 = UUID(int=11), UUID(int=12), UUID(int=13), UUID(int=21)
AGENTS = [AgentOption(A, 0), AgentOption(B, 1)]
VERSIONS = [VersionOption(A1, A), VersionOption(A2, A), VersionOption(A3, A), VersionOption(B1, B)]
USERS = [f"u-{number}" for number in range(20_000)]
BOTH = Strategy.AGENT_THEN_TEMPLATE

ids = st.sampled_from([A1, A2, A3, B1])
keys = st.text(max_size=40)
worlds = st.fixed_dictionaries(
    {
        "agents": st.lists(st.builds(AgentOption, st.sampled_from([A, B]), st.integers(0, 3), st.booleans()), unique_by=lambda one: one.id),
        "versions": st.lists(
            st.sampled_from(VERSIONS).flatmap(lambda one: st.builds(VersionOption, st.just(one.id), st.just(one.agent_id), st.booleans())),
            unique_by=lambda one: one.id,
        ),
        "weights": st.dictionaries(ids, st.floats(0, 1000)),
        "canary": st.dictionaries(ids, st.floats(0, 100)),
        "breaker_states": st.dictionaries(ids, st.sampled_from(Gate)),
        "user_key": keys,
        "strategy": st.sampled_from(Strategy),
        "busy": st.sets(ids),
    }
)  # fmt: skip


def asked(user: str, **changes: object) -> tuple[Candidate, ...]:
    world: dict[str, object] = {
        "agents": AGENTS, "versions": VERSIONS, "weights": {}, "canary": {}, "breaker_states": {}, "user_key": user, "strategy": BOTH,
    }  # fmt: skip
    return candidates(**(world | changes))


def first_versions(**changes: object) -> Counter[UUID | None]:
    return Counter(asked(user, **changes)[0].version_id for user in USERS)


@given(worlds)
@settings(max_examples=300)
def test_whatever_the_world_the_order_keeps_its_promises(world: dict[str, object]) -> None:
    order = candidates(**world)

    assert order == candidates(**world)
    strategy = world["strategy"]
    assert (TEMPLATE in order) == (strategy is not Strategy.AGENT_ONLY)
    assert TEMPLATE not in order[:-1]
    assert len(set(order)) == len(order)
    asked_versions = order[:-1] if TEMPLATE in order else order
    if strategy is Strategy.TEMPLATE_ONLY:
        assert asked_versions == ()
    on = {one.id for one in world["agents"] if one.enabled}
    enabled = {one.id for one in world["versions"] if one.enabled and one.agent_id in on}
    for one in asked_versions:
        gate = world["breaker_states"].get(one.version_id)
        assert one.kind is CandidateKind.AGENT
        assert one.version_id in enabled
        assert one.version_id not in world["busy"]
        assert gate is not Gate.OPEN
        assert one.is_probe == (gate is Gate.PROBE)
        assert one.is_canary == (one.version_id in world["canary"])


@given(worlds, st.randoms())
def test_the_order_of_the_rows_does_not_matter(world: dict[str, object], random: object) -> None:
    shuffled = dict(world)
    for name in ("agents", "versions"):
        rows = list(world[name])
        random.shuffle(rows)
        shuffled[name] = rows

    assert candidates(**shuffled) == candidates(**world)


@given(keys, st.floats(0, 1000), st.floats(0, 1000))
def test_a_weight_moves_users_only_to_or_from_its_version(user: str, before: float, after: float) -> None:
    was = asked(user, weights={A1: 50, A2: 70, A3: before})[0].version_id
    now = asked(user, weights={A1: 50, A2: 70, A3: after})[0].version_id

    assert was == now or A3 in (was, now)


def test_shares_follow_the_weights() -> None:
    counted = first_versions(weights={A1: 70, A2: 20, A3: 10})

    for version, share in ((A1, 0.7), (A2, 0.2), (A3, 0.1)):
        assert abs(counted[version] / len(USERS) - share) < 0.015


def test_a_weight_of_zero_is_never_drawn() -> None:
    assert first_versions(weights={A1: 0, A2: 1, A3: 0}) == {A2: len(USERS)}


def test_a_canary_gets_its_percentage_and_its_users_fall_back_to_the_stable_version() -> None:
    orders = [asked(user, canary={A3: 10}) for user in USERS]
    canaried = [order for order in orders if order[0].is_canary]

    assert abs(len(canaried) / len(USERS) - 0.1) < 0.01
    assert {order[0].version_id for order in canaried} == {A3}
    assert {order[1].version_id for order in canaried} == {A1, A2}
    assert all(order[0].version_id != A3 for order in orders if not order[0].is_canary)


def test_a_growing_canary_keeps_the_users_it_has() -> None:
    at_ten = {user for user in USERS if asked(user, canary={A3: 10})[0].is_canary}
    at_thirty = {user for user in USERS if asked(user, canary={A3: 30})[0].is_canary}

    assert at_ten < at_thirty


def test_a_canary_taken_back_moves_nobody_else() -> None:
    for user in USERS[:2000]:
        with_canary = [one.version_id for one in asked(user, canary={A3: 20}) if not one.is_canary]
        without = [one.version_id for one in asked(user, versions=[one for one in VERSIONS if one.id != A3])]
        assert with_canary == without


def test_two_canaries_have_stretches_of_their_own() -> None:
    counted = first_versions(canary={A2: 10, A3: 20})

    assert abs(counted[A2] / len(USERS) - 0.1) < 0.01
    assert abs(counted[A3] / len(USERS) - 0.2) < 0.01


def test_an_open_canary_gives_its_users_to_the_stable_versions_only() -> None:
    counted = first_versions(canary={A2: 10, A3: 20}, breaker_states={A2: Gate.OPEN})

    assert counted[A2] == 0
    assert abs(counted[A3] / len(USERS) - 0.2) < 0.01


def test_the_next_agent_follows_and_the_template_ends_the_list() -> None:
    order = asked("u-1")

    assert [one.agent_id for one in order] == [A, B, None]
    assert order[-1] is TEMPLATE


def test_an_open_version_gives_its_users_to_its_siblings_then_to_the_next_agent() -> None:
    one_open = {asked(user, breaker_states={A1: Gate.OPEN})[0].version_id for user in USERS[:500]}
    all_open = asked("u-1", breaker_states=dict.fromkeys([A1, A2, A3], Gate.OPEN))

    assert one_open == {A2, A3}
    assert [one.version_id for one in all_open] == [B1, None]


def test_everything_open_leaves_the_template_or_nothing() -> None:
    closed_to_all = dict.fromkeys([A1, A2, A3, B1], Gate.OPEN)

    assert asked("u-1", breaker_states=closed_to_all) == (TEMPLATE,)
    assert asked("u-1", breaker_states=closed_to_all, strategy=Strategy.AGENT_ONLY) == ()


def test_a_half_open_version_gets_probes_with_somebody_sound_behind() -> None:
    for user in USERS[:500]:
        order = asked(user, breaker_states={A1: Gate.PROBE})
        if order[0].version_id == A1:
            assert order[0].is_probe
            assert order[1].version_id in (A2, A3)
            assert not order[1].is_probe
            assert order[2].version_id == B1
    assert any(asked(user, breaker_states={A1: Gate.PROBE})[0].is_probe for user in USERS[:500])


def test_the_draw_is_the_same_on_every_machine_and_release() -> None:
    drawn = "".join(str(asked(f"u-{number}")[0].version_id)[-1] for number in range(24))

    assert drawn == "dcdbbcccccbdbbcdcdddbbcb"
