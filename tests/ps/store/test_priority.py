"""Threads that give way."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from ps.store.priority import run_behind_training

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="threads have a niceness of their own on Linux only",
)


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_thread_gives_way_and_no_other_does() -> None:
    before, seen = niceness(), []

    def give_way() -> None:
        run_behind_training()
        seen.append(niceness())

    thread = threading.Thread(target=give_way)
    thread.start()
    thread.join()
    assert seen[0] > before or before == 19
    assert niceness() == before
