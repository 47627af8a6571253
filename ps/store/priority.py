"""Saving runs behind training, where both want a core."""

from __future__ import annotations

import os
import sys

# Enough that a thread which wakes up does not push one that trains off its core, and still a tenth of
# a core where there is none to spare.
_NICENESS = 10


def run_behind_training() -> None:
    """Have the calling thread, and no other, give way to those that train. No effect but on Linux.

    A thread that writes waits for the disk many times a second, and each time it wakes up the kernel
    gives it the core it was on last, whoever is there now.
    """
    if sys.platform.startswith("linux"):  # where niceness is a thread's own
        os.nice(_NICENESS)
