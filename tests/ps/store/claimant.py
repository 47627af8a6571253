"""A process that tries to become a store's writer, says how that went, and waits to be ended."""

from __future__ import annotations

import sys

from ps.clock import SystemClock
from ps.errors import StoreInUseError
from ps.store.claim import take_claim
from ps.store.holder import Holder
from ps.store.opening import open_location


def main(url: str, who: str) -> None:
    sys.stdin.readline()  # until all are ready
    try:
        claim = take_claim(
            open_location(url), Holder.of_this_process(who), clock=SystemClock(), lease_s=3600
        )
    except StoreInUseError as error:
        print(f"refused: {error}", flush=True)
    else:
        print(f"took {claim.generation}", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
