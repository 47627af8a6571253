"""Who gives way to whom, where threads want more cores than there are."""

from __future__ import annotations

import os
import sys

# Enough that a thread which wakes up does not push one that trains off its core, and still a tenth of
# a core where there is none to spare.
_SAVING = 10
# A third of what one that answers gets.
_LEARNING = 5


def run_behind_training() -> None:
    """Have the calling thread, and those it starts, give way to those that train: it saves.

    A thread that writes waits for the disk many times a second, and each time it wakes up the kernel
    gives it the core it was on last, whoever is there now.
    """
    _give_way(_SAVING)


def run_behind_answers() -> None:
    """Have the calling thread, and those it starts, give way to shards, replicas and coordinator.

    Training takes all it can get. Beside it, whoever answers, or takes the place of one that died,
    should not wait for its turn.
    """
    _give_way(_LEARNING)


def _give_way(niceness: int) -> None:
    if sys.platform.startswith("linux"):  # where niceness is a thread's own
        os.nice(niceness)
