"""Turns: one holder at a time, and nobody is overtaken."""

from __future__ import annotations

import threading

from ps.host.turns import Turns
from tests.ps.host.hosts import until


def test_turns_come_in_the_order_they_were_asked_for() -> None:
    turns, order = Turns(), list[int]()
    turns.acquire()
    threads = []

    def wait(number: int) -> None:
        with turns:
            order.append(number)

    for number in range(5):
        thread = threading.Thread(target=wait, args=(number,))
        thread.start()
        threads.append(thread)
        until(lambda: len(turns._waiting) == len(threads), lambda: "a thread in the queue")
    # Letting go and asking again at once overtakes nobody.
    turns.release()
    turns.acquire()
    order.append(5)
    turns.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4, 5]


def test_who_gives_up_is_passed_over() -> None:
    turns = Turns()
    turns.acquire()
    assert not turns.acquire(0.001)
    turns.release()
    assert turns.acquire(0.001)
    turns.release()


def test_two_never_hold_it() -> None:
    turns, inside, most = Turns(), [0], [0]

    def run() -> None:
        for attempt in range(300):
            if turns.acquire(0.0 if attempt % 3 == 0 else None):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
                turns.release()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert turns.acquire(0.0)
