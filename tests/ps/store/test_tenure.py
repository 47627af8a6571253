"""A job's right to write, from one generation to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.clock import SystemClock
from ps.store.claim import claim_in_force
from ps.store.holder import Holder
from ps.store.opening import open_location
from ps.store.tenure import Tenure

if TYPE_CHECKING:
    from pathlib import Path


def test_the_job_is_found_by_its_store_through_every_generation(tmp_path: Path) -> None:
    location, clock = open_location(str(tmp_path)), SystemClock()
    tenure = Tenure(location, Holder.of_this_process("test"), clock)
    tenure.renew("127.0.0.1:4711")
    for generation in (2, 3):
        assert tenure.advance() == generation
        claim = claim_in_force(location, clock.now_us())
        assert claim is not None
        assert (claim.generation, claim.holder.admin) == (generation, "127.0.0.1:4711")
    tenure.release()
    assert claim_in_force(location, clock.now_us()) is None
