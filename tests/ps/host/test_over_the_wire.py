"""A host behind its data service: what workers and standbys elsewhere do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.clock import SystemClock
from ps.errors import NotLeadingError, StaleGenerationError
from ps.host.host import ShardHost
from ps.net.remote import RemoteShard
from ps.net.server import ShardServer
from ps.shard import Shard
from ps.store.opening import open_location
from tests.ps.host.hosts import caught_up
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "of this test"  # noqa: S105


def reach(address: str, shard: int, shards: int) -> RemoteShard:
    return RemoteShard(address, shard, shards, token=TOKEN, clock=SystemClock())


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[ShardHost]]:
    """Two, each behind a server of its own."""
    made, servers = [], []
    for number in range(2):
        host = ShardHost(
            f"shard-0.{number}",
            open_store=lambda: open_location(str(tmp_path)),
            connect=reach,
            clock=SystemClock(),
        )
        server = ShardServer(host, token=TOKEN)
        server.start()
        host.address = server.address
        made.append(host)
        servers.append(server)
    yield made
    for host in made:
        host.close()
    for server in servers:
        server.stop()


def test_a_worker_and_a_standby_elsewhere(hosts: list[ShardHost]) -> None:
    leader, standby = hosts
    leader.restore(1, SPEC, 1, None)
    worker = reach(leader.address, 0, 1)
    with pytest.raises(NotLeadingError):
        worker.positions()
    leader.lead(1, 1, epoch=0)
    standby.follow(1, SPEC, 1, None, leader.address)
    expected = Shard(SPEC)
    worker.fence({"p": 2})
    with pytest.raises(StaleGenerationError):
        worker.push(make_push(1, 0, 1, generation=1))
    for step in range(3):
        push = make_push(1, step, step + 1, generation=2)
        assert worker.push(push).applied
        assert expected.push(push).applied
        caught_up(standby, leader.seal(1, step + 1, 0))
    assert standby.digest() == leader.digest() == expected.digest()
    fids = {"factors": np.arange(20, dtype=np.uint64)}
    assert worker.pull(fids)["factors"].tobytes() == expected.pull(fids)["factors"].tobytes()
    leader.close()
    with pytest.raises(NotLeadingError, match="ending"):
        worker.positions()
    worker.close()
    standby.lead(1, 2, epoch=3)
    worker = reach(standby.address, 0, 1)
    assert worker.positions() == {"p": 3}
    assert worker.push(make_push(1, 3, 4, generation=2)).applied
    worker.close()
