"""A Predict server in a process of its own, for tests that kill it: prints its port, then waits."""

from __future__ import annotations

import sys

from serving.config import ServingConfig
from tests.serving.world import make_world


def main() -> None:
    """Serve until standard input ends."""
    server = make_world().server(ServingConfig(port=int(sys.argv[1])))
    server.start()
    print(server.port, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
