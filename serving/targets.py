"""Where a client finds its servers: from a running job, which knows its replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.admin.client import AdminClient

if TYPE_CHECKING:
    from collections.abc import Callable

# For a job that does not answer: the servers known are used on meanwhile.
_TIMEOUT_S = 5.0


def from_admin(
    address: str,
    token: str | None = None,
    *,
    tls_ca: bytes | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> Callable[[], tuple[str, ...]]:
    """What gives the host:port of every replica of a job that is ready, for PredictClient.

    address: of its admin service, host:port. token, tls_ca: as for ps.admin.client.AdminClient. What
    it returns raises what AdminClient.status() raises.
    """

    def ready_replicas() -> tuple[str, ...]:
        with AdminClient(address, token=token, tls_ca=tls_ca, timeout_s=timeout_s) as job:
            replicas = job.status().replicas
        return tuple(one.address for one in replicas if one.ready and one.address)

    return ready_replicas
