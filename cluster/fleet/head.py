"""Watching the head of a cluster: without it Ray ends a driver's process after a minute, with a page of its own."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ps.clock import Clock

_LOOK_S = 2.0
_DIAL_S = 2.0
_SAY_S = 5.0
# Ray's own patience is 60 s (RAY_gcs_rpc_server_reconnect_timeout_s), and its calls last as long.
_LOST_S = 45.0
# The run failed (cluster.cli.exits); nothing that Ray is in the middle of can be waited for.
_EXIT = 1
_SHOW_CURSOR = "\x1b[?25h"


def _end() -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
    sys.stderr.flush()
    os._exit(_EXIT)


@contextmanager
def head_watched(
    address: str,
    say: Callable[[str], None],
    clock: Clock,
    *,
    end: Callable[[], None] = _end,
    look_s: float = _LOOK_S,
    say_s: float = _SAY_S,
    lost_s: float = _LOST_S,
) -> Iterator[None]:
    """Look, beside the block, whether anything listens at the head's host:port.

    say: told where it does not for say_s, and where it does again. end: called once it has not for
    lost_s, since whoever is in a call to Ray by then does not come back.
    """
    stop = threading.Event()

    def watch() -> None:
        heard_s, is_told = clock.monotonic_s(), False
        while not stop.wait(look_s):
            now_s = clock.monotonic_s()
            if _listens(address):
                heard_s = now_s
                if is_told:
                    is_told = False
                    say(f"the head of the cluster at {address} answers again")
                continue
            if now_s - heard_s >= lost_s:
                say(
                    f"the head of the cluster at {address} is gone, and with it the job's processes; what "
                    "was saved is in the store. Start the cluster, and run the same command again"
                )
                end()
                return
            if now_s - heard_s >= say_s and not is_told:
                is_told = True
                say(f"the head of the cluster at {address} does not answer")

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_DIAL_S + look_s)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), _DIAL_S):
        return True
    return False
