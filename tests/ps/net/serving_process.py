"""A process that serves a shard until it is killed: prints its address first."""

from __future__ import annotations

import sys

from tests.ps.net.served import HeldShard, serve
from tests.ps.shards import make

if __name__ == "__main__":
    with serve(HeldShard(make())) as server:
        print(server.address, flush=True)
        sys.stdin.read()
