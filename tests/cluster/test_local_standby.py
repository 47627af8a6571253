"""Standbys in the process of the training: when one may take its shard's place."""

from __future__ import annotations

import pytest

from cluster.local.standby import Standbys
from ps.blocklog import BlockLog
from ps.shard import Shard
from tests.ps.shards import SPEC, make_push


class Leader:
    """A shard that is learned into, and the log of its last block."""

    def __init__(self) -> None:
        self.shard = Shard(SPEC)
        self.shard.promote(1)
        self.log = BlockLog(max_blocks=1, base=lambda _: self.shard.export(0))
        self._step = 0

    def learn(self) -> None:
        assert self.shard.push(make_push(1, self._step, self._step + 1)).applied
        self._step += 1

    def seal(self) -> None:
        self.log.append(self.shard.seal(0))


@pytest.fixture
def leader() -> Leader:
    """Two epochs on, so that its log does not reach back to the beginning."""
    leader = Leader()
    for _ in range(2):
        leader.learn()
        leader.seal()
    return leader


def test_what_began_amid_an_epoch_does_not_take_over_before_its_end(leader: Leader) -> None:
    """It has what its leader learned since the last epoch, which no block of its own would have."""
    standbys = Standbys([SPEC], leader.log)
    leader.learn()
    standbys.catch_up(0)
    assert standbys.take(0, leader.shard.cursor) is None
    leader.seal()
    standbys.catch_up(0)
    taken = standbys.take(0, leader.shard.cursor)
    assert taken is not None
    assert taken.digest() == leader.shard.digest()


def test_who_stands_by_from_the_start_may_take_over_at_once(leader: Leader) -> None:
    standbys = Standbys([SPEC], leader.log)
    standbys.start()
    try:
        taken = standbys.take(0, leader.shard.cursor)
        assert taken is not None
        assert taken.digest() == leader.shard.digest()
    finally:
        standbys.stop()
