"""A head that is gone ends the command in words."""

from __future__ import annotations

import socket
import threading

from cluster.fleet.head import head_watched
from ps.clock import SystemClock

PATIENCE_S = 30.0


def listening(port: int = 0) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port))
    listener.listen(128)
    return listener


def test_a_head_that_is_gone_is_told_of_and_ends_the_command() -> None:
    said: list[str] = []
    ended = threading.Event()
    listener = listening()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    with head_watched(
        address, said.append, SystemClock(), end=ended.set, look_s=0.01, say_s=0.0, lost_s=0.3
    ):
        listener.close()
        assert ended.wait(PATIENCE_S)
    assert "does not answer" in said[0]
    assert "run the same command again" in said[-1]


def test_a_head_that_answers_is_not_spoken_of() -> None:
    said: list[str] = []
    accepted = threading.Event()
    with listening() as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def accept() -> None:
            for _ in range(3):
                listener.accept()[0].close()
            accepted.set()

        thread = threading.Thread(target=accept)
        thread.start()
        with head_watched(
            address,
            said.append,
            SystemClock(),
            end=accepted.set,
            look_s=0.01,
            say_s=0.0,
            lost_s=0.3,
        ):
            assert accepted.wait(PATIENCE_S)
        thread.join(PATIENCE_S)
    assert not said
