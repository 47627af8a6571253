"""Threads that give way."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ps.priority import run_behind_answers, run_behind_training

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="threads have a niceness of their own on Linux only",
)


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.parametrize("give_way", [run_behind_training, run_behind_answers])
def test_a_thread_gives_way_and_no_other_does(give_way: Callable[[], None]) -> None:
    before, seen = niceness(), []

    def run() -> None:
        give_way()
        seen.append(niceness())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen[0] > before or before == 19
    assert niceness() == before
