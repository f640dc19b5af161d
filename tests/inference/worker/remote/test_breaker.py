"""When an endpoint is left alone and asked again, and how many batches are sent a second time."""

from imageserver.inference.worker.remote.breaker import FAILURES, Breaker, BreakerState, RetryBudget


def closed() -> Breaker:
    breaker = Breaker()
    breaker.looked(True, 0.0)
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    return breaker


def test_it_is_not_asked_before_a_look_has_found_it_well() -> None:
    breaker = Breaker()
    assert not breaker.allows
    breaker.looked(False, 0.0)
    assert not breaker.allows
    breaker.looked(True, 0.0)
    assert breaker.state is BreakerState.HALF_OPEN


def test_failures_in_a_row_open_it_and_others_do_not() -> None:
    breaker = closed()
    for _ in range(10):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.allows
    for _ in range(FAILURES):
        breaker.failed(0.0)
    assert not breaker.allows


def test_two_looks_open_it_and_one_does_not() -> None:
    breaker = closed()
    for well in (False, True, False):
        breaker.looked(well, 0.0)
    assert breaker.allows
    breaker.looked(False, 0.0)
    assert not breaker.allows


def test_the_pause_doubles_while_it_fails_and_begins_anew_once_it_answers() -> None:
    breaker, now = closed(), 100.0
    for _ in range(FAILURES):
        breaker.failed(now)
    for pause in (1.0, 2.0, 4.0):
        breaker.looked(True, now + pause - 0.1)
        assert not breaker.allows
        now += pause
        breaker.looked(True, now)
        assert breaker.state is BreakerState.HALF_OPEN
        breaker.failed(now)
        assert not breaker.allows
    breaker.looked(True, now + 8.0)
    breaker.succeeded()
    for _ in range(FAILURES):
        breaker.failed(200.0)
    breaker.looked(True, 201.0)
    assert breaker.allows


def test_second_tries_are_a_share_of_the_batches_and_some_in_store() -> None:
    budget = RetryBudget(0.5, 10.0)
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]
    budget.add()
    assert not budget.take()
    budget.add()
    assert budget.take()
    assert not RetryBudget(0.0, 10.0).take()
