"""The serve section of a job as the settings of its servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.job.places import address
from cluster.plan import ServePlan
from serving.config import ServingConfig

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.job.blame import Blame
    from cluster.job.load import Job

_LAST_PORT = 65_535


def serve_plan(job: Job, blame: Blame, replicas: int | None = None) -> ServePlan:
    """One server for each replica, on ports that follow each other. Raises JobFileError.

    replicas: instead of the job's.
    """
    serve = job.settings.serve
    if replicas is not None:
        serve = serve.model_copy(update={"replicas": replicas})
    if serve.sync_interval == 0:
        blame.refuse(("serve", "sync_interval"), "found 0; set it above 0, 1s is usual")
    host, port = address(serve.listen)
    metrics_host, metrics_port = (
        ("127.0.0.1", None) if serve.metrics is None else address(serve.metrics)
    )
    for key, first in (("listen", port), ("metrics", metrics_port or 0)):
        if first + serve.replicas - 1 > _LAST_PORT:
            blame.refuse(
                ("serve", key),
                f"found port {first} for {serve.replicas} replicas; ports end at {_LAST_PORT}, "
                "choose a lower one, or 0 for any free ones",
            )
    cert, key_file = _tls(job)
    with blame.on("serve"):
        servers = tuple(
            ServingConfig(
                host=host,
                port=_nth(port, number),
                threads=serve.threads,
                max_candidates=serve.max_candidates,
                max_message_bytes=serve.max_message_bytes,
                max_concurrent_requests=serve.max_concurrent_requests,
                grace_s=serve.grace,
                metrics_host=metrics_host,
                metrics_port=None if metrics_port is None else _nth(metrics_port, number),
                cert_file=cert,
                key_file=key_file,
            )
            for number in range(serve.replicas)
        )
    return ServePlan(serve.replicas, serve.sync_interval, servers)


def _nth(port: int, number: int) -> int:
    """0 stays 0, which means any free port."""
    return port + number if port else 0


def _tls(job: Job) -> tuple[Path | None, Path | None]:
    tls = job.settings.serve.tls
    if tls is None:
        return None, None
    return job.document.folder / tls.cert, job.document.folder / tls.key
