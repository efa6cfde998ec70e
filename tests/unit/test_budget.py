"""The escalation budget: second looks as a share of what was decided over the last minute."""

from hypothesis import given, settings
from hypothesis import strategies as st

from router.budget import HEADSTART_ITEMS, WINDOW_S, EscalationBudget


def take_all(budget: EscalationBudget, share: float, now: float) -> int:
    """Take second looks until the budget refuses one, at most a thousand."""
    taken = 0
    while taken < 1000 and budget.take(share, now):
        taken += 1
    return taken


def test_whole_share_never_refuses() -> None:
    """A budget of one is no budget."""
    budget = EscalationBudget()

    assert take_all(budget, 1.0, 0.0) == 1000


def test_empty_share_refuses_the_first_second_look() -> None:
    """A budget of zero allows none, not even from the head start."""
    budget = EscalationBudget()
    budget.decide(1000, 0.0)

    assert not budget.take(0.0, 0.0)


def test_quiet_service_may_look_twice_at_its_first_items() -> None:
    """Before anything was decided, the share of the head start is there."""
    budget = EscalationBudget()

    assert take_all(budget, 0.5, 0.0) == HEADSTART_ITEMS * 0.5


def test_budget_grows_with_what_is_decided() -> None:
    """A tenth of a hundred decided items and of the head start."""
    budget = EscalationBudget()
    budget.decide(100, 0.0)

    assert take_all(budget, 0.1, 0.0) == 11


def test_spent_budget_comes_back_as_it_fades() -> None:
    """Refused now, allowed again when the spending lies minutes back."""
    budget = EscalationBudget()
    take_all(budget, 0.5, 0.0)

    assert not budget.take(0.5, 0.1)
    assert budget.take(0.5, 10 * WINDOW_S)


def test_clock_that_steps_back_is_no_time_at_all() -> None:
    """Nothing fades and nothing breaks when two readings come in the wrong order."""
    budget = EscalationBudget()
    budget.decide(100, 50.0)
    take_all(budget, 0.1, 50.0)

    assert not budget.take(0.1, 49.0)


@settings(deadline=None, max_examples=50)
@given(share=st.floats(0, 0.99), steps=st.lists(st.tuples(st.integers(1, 50), st.floats(0, 30)), max_size=20))
def test_second_looks_stay_within_their_share(share: float, steps: list[tuple[int, float]]) -> None:
    """However traffic comes, escalations never exceed the share of decided items and the head start."""
    budget = EscalationBudget()
    now, decided, taken = 0.0, 0, 0
    for items, pause_s in steps:
        now += pause_s
        budget.decide(items, now)
        decided += items
        taken += sum(budget.take(share, now) for _ in range(items))

    # What has faded of the head start may be spent anew, once a window.
    assert taken <= share * (decided + HEADSTART_ITEMS * (1 + now / WINDOW_S)) + 1


def test_rate_allows_a_seconds_worth_at_once() -> None:
    """Three a second: three now, and none more in this moment."""
    budget = EscalationBudget()

    assert [budget.take(1.0, 5.0, 3.0) for _ in range(5)] == [True, True, True, False, False]


def test_rate_refills_with_time() -> None:
    """A third of a second is one second look of three; a long silence is a second's worth and not more."""
    budget = EscalationBudget()
    taken = [sum(budget.take(1.0, now, 3.0) for _ in range(9)) for now in (0.0, 0.2, 0.4, 0.75, 1000.0)]

    assert taken == [3, 0, 1, 1, 3]


def test_rate_under_one_a_second_allows_single_ones() -> None:
    """One every four seconds."""
    budget = EscalationBudget()

    assert [budget.take(1.0, now, 0.25) for now in (0.0, 1.0, 3.9, 4.0, 4.1, 8.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_second_look_that_the_rate_refuses_costs_no_share() -> None:
    """What was not taken is not counted as taken."""
    budget = EscalationBudget()
    assert budget.take(0.5, 0.0, 1.0)
    refused = [budget.take(0.5, 0.0, 1.0) for _ in range(20)]

    assert not any(refused)
    assert take_all(budget, 0.5, 0.0) == HEADSTART_ITEMS * 0.5 - 1


def test_second_look_that_the_share_refuses_costs_no_rate() -> None:
    """Either bound alone is enough to refuse, and then the other is untouched."""
    budget = EscalationBudget()
    refused = [budget.take(0.0, 0.0, 2.0) for _ in range(5)]

    assert not any(refused)
    assert [budget.take(1.0, 0.0, 2.0) for _ in range(3)] == [True, True, False]


def test_rate_is_the_present_policys() -> None:
    """A stricter one holds from the next second look on."""
    budget = EscalationBudget()
    assert budget.take(1.0, 0.0, 100.0)

    assert [budget.take(1.0, 0.0, 1.0) for _ in range(2)] == [True, False]


def test_clock_that_steps_back_and_forth_refills_nothing() -> None:
    """Two readings in the wrong order are not a second's worth."""
    budget = EscalationBudget()
    assert budget.take(1.0, 10.0, 1.0)

    assert [budget.take(1.0, now, 1.0) for now in (9.0, 10.0, 9.0, 10.0)] == [False] * 4


@settings(deadline=None, max_examples=50)
@given(
    per_s=st.floats(0.1, 20),
    pauses_s=st.lists(st.floats(0, 2), min_size=1, max_size=30),
    wanted=st.integers(1, 40),
)
def test_second_looks_stay_within_their_rate(per_s: float, pauses_s: list[float], wanted: int) -> None:
    """However they come: what time has brought, and a second's worth to begin with."""
    budget = EscalationBudget()
    now, taken = 0.0, 0
    for pause_s in pauses_s:
        now += pause_s
        taken += sum(budget.take(1.0, now, per_s) for _ in range(wanted))

    assert taken <= per_s * (now - pauses_s[0]) + max(1.0, per_s) + 1e-6
