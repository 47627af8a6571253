"""What is asked of every machine of a cluster before anything is placed there.

The function is sent as it is, by value: trilith may be missing there, or another version. So it
imports what it needs inside, and answers in plain values.
"""

from __future__ import annotations

from typing import Any


def inquire(store: str) -> dict[str, Any]:
    """Python, code and store as one machine has them; a fault in words where something is not there.

    store: its URL. Answers python, host, fingerprint, store (when its first writer came, in
    microseconds; None: nothing is a store there), trilith_fault and store_fault (None: fine).
    """
    import platform
    import socket

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "fingerprint": None,
        "store": None,
        "trilith_fault": None,
        "store_fault": None,
    }

    def said(error: BaseException) -> str:
        return f"{type(error).__name__}: {error}".partition("\n")[0]

    try:
        from ps.fingerprint import code_fingerprint

        found["fingerprint"] = code_fingerprint()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is that machine's fault
        found["trilith_fault"] = said(error)
        return found
    try:
        from ps.store.identity import read_identity
        from ps.store.opening import open_location

        identity = read_identity(open_location(store, deadline_s=5.0))
        found["store"] = None if identity is None else identity.created_us
    except Exception as error:  # noqa: BLE001
        found["store_fault"] = said(error)
    return found
