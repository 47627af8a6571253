"""The admin section of a job as a plan: who may reach the running job, and how."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.job.places import address
from cluster.plan import AdminPlan

if TYPE_CHECKING:
    from cluster.job.blame import Blame
    from cluster.job.load import Job

_LAST_PORT = 65_535


def admin_plan(job: Job, blame: Blame) -> AdminPlan | None:
    """The plan, None where the job wants no admin service. Raises JobFileError."""
    section = job.settings.admin
    if section is None:
        return None
    host, port = address(section.listen)
    if port > _LAST_PORT:
        blame.refuse(
            ("admin", "listen"), f"found port {port}; ports end at {_LAST_PORT}, 0 is any free one"
        )
    missing = [name for name in ("token", "tls") if getattr(section, name) is None]
    if missing and not _is_loopback(host):
        blame.refuse(
            ("admin", "listen"),
            f"found {section.listen}, which others can reach, and whoever reaches it may roll the "
            f"model back: add admin.{' and admin.'.join(missing)}, or listen on 127.0.0.1:{port}",
        )
    folder, tls = job.document.folder, section.tls
    return AdminPlan(
        host=host,
        port=port,
        token=section.token,
        cert_file=None if tls is None else folder / Path(tls.cert).expanduser(),
        key_file=None if tls is None else folder / Path(tls.key).expanduser(),
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name, and names can be anywhere
        return False
