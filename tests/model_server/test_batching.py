from __future__ import annotations

import threading
from pathlib import Path

import pytest

from model_server.batching import Admission, Deadline, Places
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


def test_the_rate_limit_is_one_for_all_who_open_the_file(tmp_path: Path) -> None:
    one, two = RateLimit(tmp_path / "rate"), RateLimit(tmp_path / "rate")
    for limit in (one, two, one):
        limit.admit(3 / 60 * 20)  # one a second, so that the burst is one
        with pytest.raises(TooManyRequests):
            (two if limit is one else one).admit(1)
        break
    one.admit(0)


def test_the_rate_limit_lets_a_second_of_requests_through_at_once(tmp_path: Path) -> None:
    limit, admitted = RateLimit(tmp_path / "rate"), 0
    for _ in range(100):
        try:
            limit.admit(40)
            admitted += 1
        except TooManyRequests as refused:
            assert refused.retry_after == 1
    assert 40 <= admitted < 100
