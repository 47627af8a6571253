"""The client of a job's admin service: an AdminTarget at the end of a wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ps import admin_pb2 as pb
from ps import admin_pb2_grpc as pb_grpc
from ps.addresses import host_of, is_loopback
from ps.admin import messages, status_messages
from ps.admin.errors import (
    AdminError,
    AdminFaultError,
    AdminRefusedError,
    AdminTimeoutError,
    AdminUnreachableError,
)
from ps.faults import FACTS_KEY, KIND_KEY, error_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from ps.admin.target import (
        FailoverReport,
        JobStatus,
        Pausable,
        PruneReport,
        ReshardReport,
        RestorePoint,
        RollbackReport,
        TableStatus,
    )
    from ps.errors import PsError
    from ps.inspected import InspectedRow, InspectedSlot
    from ps.store.commit import Skips

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

# What is only looked at, and what waits for the store or for a moment between two batches.
QUICK_S = 20.0
LONG_S = 600.0

# What gRPC says where TLS or not makes no difference.
_NOBODY_THERE = ("connection refused", "dns resolution failed", "no route to host", "unreachable")

# As many rows as the service gives at once, of the widest tables.
_LONGEST_ANSWER_BYTES = 256 << 20


class AdminClient:
    """A running job, as AdminTarget has it, from anywhere. May be used from any number of threads.

    Every method raises what the job raises, and AdminUnreachableError, AdminRefusedError,
    AdminTimeoutError, AdminFaultError, or AdminError for anything else. Close it after use.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        tls_ca: bytes | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """target: host:port. tls_ca: PEM of who signed the job's certificate.

        Beyond loopback TLS is always used, with the usual authorities where no other is given, so
        that a token never travels in the clear. timeout_s: for every call; None: 20 s for what is
        only looked at, 10 minutes for what changes something.
        """
        self.target = target
        self._timeout_s = timeout_s
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", _LONGEST_ANSWER_BYTES),
            # A job that was started again, or its next coordinator, is found within a second; gRPC
            # would try less and less often, in the end every two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        local = is_loopback(host_of(target))
        if local:
            # A proxy of the environment does not lead to this machine.
            options.append(("grpc.enable_http_proxy", 0))
        self._tls_ca_given = tls_ca is not None
        self._plain = local and tls_ca is None
        if self._plain:
            self._channel = grpc.insecure_channel(target, options)
        else:
            credentials = grpc.ssl_channel_credentials(tls_ca)
            self._channel = grpc.secure_channel(target, credentials, options)
        self._stub = pb_grpc.AdminStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls under way fail."""
        self._channel.close()

    def status(self) -> JobStatus:
        """The job as it stands."""
        answer = self._call(self._stub.GetStatus, pb.GetStatusRequest(), QUICK_S)
        return status_messages.status_of(answer)

    def tables(self) -> list[TableStatus]:
        """Every table."""
        answer = self._call(self._stub.ListTables, pb.ListTablesRequest(), QUICK_S)
        return [status_messages.table_of(table) for table in answer.tables]

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        """A fid in every table that knows its slot, or in the one named."""
        request = pb.InspectFidRequest(fid=fid, table=table)
        answer = self._call(self._stub.InspectFid, request, QUICK_S)
        return [messages.row_of(row) for row in answer.rows]

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        """A slot in every table that has it, or in the one named, with up to `rows` of its rows."""
        request = pb.InspectSlotRequest(slot=slot, table=table, rows=rows)
        # It looks at every row of the table.
        answer = self._call(self._stub.InspectSlot, request, LONG_S)
        return [messages.slot_of(slot) for slot in answer.slots]

    def restore_points(self) -> list[RestorePoint]:
        """What the store holds, oldest first."""
        request = pb.ListRestorePointsRequest()
        answer = self._call(self._stub.ListRestorePoints, request, LONG_S)
        return [messages.point_of(point) for point in answer.points]

    def create_snapshot(self, name: str) -> RestorePoint:
        """Seal all shards at one position, commit, and pin it under a name."""
        request = pb.CreateSnapshotRequest(name=name)
        return messages.point_of(
            self._call(self._stub.CreateSnapshot, request, LONG_S, changes=True)
        )

    def prune(self, *, dry_run: bool) -> PruneReport:
        """Delete what retention no longer keeps."""
        request = pb.PruneRequest(dry_run=dry_run)
        return messages.prune_of(self._call(self._stub.Prune, request, LONG_S, changes=not dry_run))

    def rollback(self, epoch: int, skips: Skips, *, dry_run: bool) -> RollbackReport:
        """Go back to a restore point and read the stream again from there, leaving out `skips`."""
        request = pb.RollbackRequest(
            epoch=epoch, skips=status_messages.skips_message(skips), dry_run=dry_run
        )
        return messages.rollback_of(
            self._call(self._stub.Rollback, request, LONG_S, changes=not dry_run)
        )

    def reshard(self, shards: int, *, dry_run: bool) -> ReshardReport:
        """Go on with another number of shards."""
        request = pb.ReshardRequest(shards=shards, dry_run=dry_run)
        return messages.reshard_of(
            self._call(self._stub.Reshard, request, LONG_S, changes=not dry_run)
        )

    def failover(self, shard: int) -> FailoverReport:
        """Promote the shard's standby, or restore the shard from the store."""
        request = pb.FailoverRequest(shard=shard)
        return messages.failover_of(self._call(self._stub.Failover, request, LONG_S, changes=True))

    def pause(self, what: Pausable) -> None:
        """Stop training, or publishing to replicas; serving goes on. Again: no effect."""
        request = pb.PauseRequest(what=status_messages.pausable_message(what))
        self._call(self._stub.Pause, request, LONG_S, changes=True)

    def resume(self, what: Pausable) -> None:
        """Go on with it."""
        request = pb.ResumeRequest(what=status_messages.pausable_message(what))
        self._call(self._stub.Resume, request, LONG_S, changes=True)

    def expire(self) -> Mapping[str, int]:
        """Free every row whose time is over, now; how many, by table."""
        answer = self._call(self._stub.Expire, pb.ExpireRequest(), LONG_S, changes=True)
        return dict(sorted(answer.rows.items()))

    def _call(
        self,
        call: grpc.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        usual_s: float,
        *,
        changes: bool = False,
    ) -> _Response:
        timeout_s = usual_s if self._timeout_s is None else self._timeout_s
        try:
            return call(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            failure = self._named(error, timeout_s, changes=changes)
        raise failure

    def _named(self, error: grpc.RpcError, timeout_s: float, *, changes: bool) -> PsError:
        """The error of ours that a gRPC error means."""
        target = self.target
        # Every error of a call is a grpc.Call as well, which its type cannot say.
        call: Any = error
        code: grpc.StatusCode = call.code()
        details: str = call.details() or ""
        sent = dict(call.trailing_metadata() or ())
        if KIND_KEY in sent:
            return error_of(sent[KIND_KEY], details, sent.get(FACTS_KEY))
        if code is grpc.StatusCode.UNAVAILABLE:
            return AdminUnreachableError(
                target, f"no job answers there ({details}){self._about_tls(details)}"
            )
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return AdminRefusedError(target, f"{details}; give the job's token")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            what = "what had begun goes on there: look at its status"
            if not changes:
                what = (
                    "nothing was changed. See that the job is not stuck, or give it more --timeout"
                )
            return AdminTimeoutError(target, f"no answer within {timeout_s:g} s; {what}")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return AdminUnreachableError(
                target, f"what answers there is no job, or too old ({details})"
            )
        if code is grpc.StatusCode.INTERNAL:
            return AdminFaultError(target, details)
        return AdminError(target, f"{code.name}: {details}")

    def _about_tls(self, details: str) -> str:
        """What to try where something may be there and speaks otherwise."""
        if self._tls_ca_given or any(sign in details.lower() for sign in _NOBODY_THERE):
            return ""
        if self._plain:
            return (
                "; plain text was spoken, as to any loopback address: if the job speaks TLS, give "
                "--tls-ca"
            )
        return (
            "; TLS was spoken, with the usual authorities: if the job's certificate is by another, "
            "give --tls-ca"
        )
