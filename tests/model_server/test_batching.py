from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from model_server.batching import Admission, Deadline, Places, Together
from model_server.errors import GetInstanceError, TooManyRequests
from model_server.rate import RateLimit
from tests.model_server.servers import until


def test_places_are_given_in_order_of_arrival() -> None:
    places, order, threads = Places(1), list[int](), list[threading.Thread]()

    def work(number: int) -> None:
        with places.hold(Deadline(30)):
            order.append(number)

    with places.hold(Deadline(30)):
        for number in range(8):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            until(lambda count=number + 1: len(places._waiting) == count, "it waits")  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_a_place_that_is_not_free_in_time_is_refused_and_not_lost() -> None:
    places = Places(1)
    with places.hold(Deadline(1)), pytest.raises(GetInstanceError), places.hold(Deadline(0.01)):
        pass
    with places.hold(Deadline(0)):
        pass


def test_never_more_than_the_places_are_held() -> None:
    places, lock, inside, most = Places(3), threading.Lock(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with places.hold(Deadline(30)):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 3
    assert places._free == 3


def test_a_full_queue_refuses_at_once() -> None:
    admission = Admission(2)
    with admission.enter(), admission.enter():
        with pytest.raises(GetInstanceError) as refused, admission.enter():
            pass
        assert refused.value.retry_after
    assert admission.inside == 0


def test_what_waits_when_the_model_becomes_free_goes_to_it_together() -> None:
    batches, answers, release = list[list[int]](), dict[int, Sequence[int]](), threading.Event()

    def compute(work: Sequence[int]) -> list[int]:
        batches.append(list(work))
        release.wait(30)
        return [10 * piece for piece in work]

    together: Together[int, int] = Together(compute, most=4)

    def ask(number: int, count: int) -> None:
        answers[number] = together.answer([number] * count, Deadline(30))

    threads = list[threading.Thread]()
    for number, count in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 9)):
        threads.append(threading.Thread(target=ask, args=(number, count)))
        threads[-1].start()
        until(lambda seen=number: sum(map(len, batches[:1])) + len(together._jobs) == seen, "it waits")  # type: ignore[misc]
    release.set()
    for thread in threads:
        thread.join()
    assert batches == [[1], [2, 3, 3], [4, 4], [5] * 9]
    assert answers == {1: [10], 2: [20], 3: [30] * 2, 4: [40] * 2, 5: [50] * 9}


def test_who_gives_up_waiting_is_not_computed() -> None:
    batches = list[list[int]]()
    began, release = threading.Event(), threading.Event()

    def compute(work: Sequence[int]) -> list[int]:
        batches.append(list(work))
        began.set()
        release.wait(30)
        return list(work)

    together: Together[int, int] = Together(compute, most=4)
    first = threading.Thread(target=together.answer, args=([1], Deadline(30)))
    first.start()
    began.wait(30)
    with pytest.raises(GetInstanceError):
        together.answer([2], Deadline(0.01))
    release.set()
    first.join()
    assert together.answer([3], Deadline(30)) == [3]
    assert batches == [[1], [3]]


def test_the_rate_limit_is_one_for_all_who_open_the_file(tmp_path: Path) -> None:
    one, two = RateLimit(tmp_path / "rate"), RateLimit(tmp_path / "rate")
    one.admit(0.01)
    for limit in (one, two):
        with pytest.raises(TooManyRequests):
            limit.admit(0.01)
        limit.admit(0)


def test_the_rate_limit_lets_a_second_of_requests_through_at_once(tmp_path: Path) -> None:
    limit, admitted = RateLimit(tmp_path / "rate"), 0
    for _ in range(100):
        try:
            limit.admit(40)
            admitted += 1
        except TooManyRequests as refused:
            assert refused.retry_after == 1
    assert 40 <= admitted < 100
