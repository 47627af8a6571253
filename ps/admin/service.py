"""The Admin service: an operator's calls in, answers or named errors out, never a crash."""

from __future__ import annotations

import hmac
import logging
import threading
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

import grpc

from ps import admin_pb2 as pb
from ps import admin_pb2_grpc as pb_grpc
from ps.admin import messages, status_messages
from ps.errors import JobBusyError, PsError, SpecError
from ps.faults import code_of, metadata_of, shortened
from ps.store.names import is_snapshot_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ps.admin.target import AdminTarget

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

TOKEN_KEY = "authorization"  # noqa: S105  # the header's name
TOKEN_SCHEME = "Bearer "  # noqa: S105

# More rows than a person looks at, and few enough for one answer.
MOST_ROWS = 10_000

_LAST_SLOT = (1 << 16) - 1


class _UnknownCallerError(Exception):
    """The token is missing or wrong."""


class _DeadlineError(Exception):
    """The caller has gone, or will have before an answer could reach it."""


class AdminService(pb_grpc.AdminServicer):
    """Hands calls on to a job; called by any number of threads.

    One operation that changes the job runs at a time, so that a status always finds a thread free;
    once begun it goes on to its end, whether its caller still waits or not.
    """

    def __init__(
        self,
        target: AdminTarget,
        token: str | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """token: every call must carry it; None: nobody is asked. new_id: for logged faults."""
        self._target = target
        self._token = None if token is None else token.encode()
        self._new_id = new_id
        self._operation = threading.Lock()
        self._under_way = ""

    def GetStatus(  # noqa: N802  # the names gRPC gives them, here and below
        self, request: pb.GetStatusRequest, context: grpc.ServicerContext
    ) -> pb.JobStatus:
        """The job as it stands."""
        del request
        return self._answer(
            "status", context, lambda: status_messages.status_message(self._target.status())
        )

    def ListTables(  # noqa: N802
        self, request: pb.ListTablesRequest, context: grpc.ServicerContext
    ) -> pb.ListTablesResponse:
        """Every table."""
        del request

        def work() -> pb.ListTablesResponse:
            tables = self._target.tables()
            return pb.ListTablesResponse(tables=map(status_messages.table_message, tables))

        return self._answer("tables", context, work)

    def InspectFid(  # noqa: N802
        self, request: pb.InspectFidRequest, context: grpc.ServicerContext
    ) -> pb.InspectFidResponse:
        """A fid in the tables that know it."""

        def work() -> pb.InspectFidResponse:
            table = request.table if request.HasField("table") else None
            rows = self._target.inspect_fid(request.fid, table)
            return pb.InspectFidResponse(rows=map(messages.row_message, rows))

        return self._answer("inspect fid", context, work)

    def InspectSlot(  # noqa: N802
        self, request: pb.InspectSlotRequest, context: grpc.ServicerContext
    ) -> pb.InspectSlotResponse:
        """A slot in the tables that have it."""

        def work() -> pb.InspectSlotResponse:
            if request.slot > _LAST_SLOT:
                raise SpecError(f"slot {request.slot} is outside 0..{_LAST_SLOT}")
            if request.rows > MOST_ROWS:
                raise SpecError(f"{request.rows:,} rows are too many; ask for {MOST_ROWS:,}")
            table = request.table if request.HasField("table") else None
            slots = self._target.inspect_slot(request.slot, table, request.rows)
            return pb.InspectSlotResponse(slots=map(messages.slot_message, slots))

        return self._answer("inspect slot", context, work)

    def ListRestorePoints(  # noqa: N802
        self, request: pb.ListRestorePointsRequest, context: grpc.ServicerContext
    ) -> pb.ListRestorePointsResponse:
        """What the store holds."""
        del request

        def work() -> pb.ListRestorePointsResponse:
            points = self._target.restore_points()
            return pb.ListRestorePointsResponse(points=map(messages.point_message, points))

        return self._answer("snapshot list", context, work)

    def CreateSnapshot(  # noqa: N802
        self, request: pb.CreateSnapshotRequest, context: grpc.ServicerContext
    ) -> pb.RestorePoint:
        """Seal, commit and pin."""

        def work() -> pb.RestorePoint:
            if not is_snapshot_name(request.name):
                raise SpecError(
                    f"a snapshot cannot be called {request.name!r}; use up to 100 letters, digits, "
                    "dots and dashes"
                )
            return messages.point_message(self._target.create_snapshot(request.name))

        return self._operate(f"snapshot create {request.name}", context, work)

    def Prune(  # noqa: N802
        self, request: pb.PruneRequest, context: grpc.ServicerContext
    ) -> pb.PruneReport:
        """Delete what is no longer kept."""

        def work() -> pb.PruneReport:
            return messages.prune_message(self._target.prune(dry_run=request.dry_run))

        return self._operate("prune", context, work, dry_run=request.dry_run)

    def Rollback(  # noqa: N802
        self, request: pb.RollbackRequest, context: grpc.ServicerContext
    ) -> pb.RollbackReport:
        """Go back to a restore point."""

        def work() -> pb.RollbackReport:
            skips = status_messages.skips_of(request.skips)
            report = self._target.rollback(request.epoch, skips, dry_run=request.dry_run)
            return messages.rollback_message(report)

        return self._operate(
            f"rollback to epoch {request.epoch}", context, work, dry_run=request.dry_run
        )

    def Reshard(  # noqa: N802
        self, request: pb.ReshardRequest, context: grpc.ServicerContext
    ) -> pb.ReshardReport:
        """Go on with another number of shards."""

        def work() -> pb.ReshardReport:
            report = self._target.reshard(request.shards, dry_run=request.dry_run)
            return messages.reshard_message(report)

        return self._operate(f"reshard to {request.shards}", context, work, dry_run=request.dry_run)

    def Failover(  # noqa: N802
        self, request: pb.FailoverRequest, context: grpc.ServicerContext
    ) -> pb.FailoverReport:
        """Replace a shard."""

        def work() -> pb.FailoverReport:
            return messages.failover_message(self._target.failover(request.shard))

        return self._operate(f"failover of shard {request.shard}", context, work)

    def Pause(  # noqa: N802
        self, request: pb.PauseRequest, context: grpc.ServicerContext
    ) -> pb.PauseResponse:
        """Stop training or publishing. Never waits for an operation: it may be there to stop it."""

        def work() -> pb.PauseResponse:
            self._target.pause(status_messages.pausable_of(request.what))
            return pb.PauseResponse()

        return self._answer("pause", context, work)

    def Resume(  # noqa: N802
        self, request: pb.ResumeRequest, context: grpc.ServicerContext
    ) -> pb.ResumeResponse:
        """Go on with it."""

        def work() -> pb.ResumeResponse:
            self._target.resume(status_messages.pausable_of(request.what))
            return pb.ResumeResponse()

        return self._answer("resume", context, work)

    def Expire(  # noqa: N802
        self, request: pb.ExpireRequest, context: grpc.ServicerContext
    ) -> pb.ExpireResponse:
        """Free every row whose time is over."""
        del request
        return self._operate(
            "expire", context, lambda: pb.ExpireResponse(rows=self._target.expire())
        )

    def _operate(
        self,
        name: str,
        context: grpc.ServicerContext,
        work: Callable[[], _Answer],
        *,
        dry_run: bool = False,
    ) -> _Answer:
        """Answer with an operation that changes the job: alone, and on record."""
        if dry_run:
            return self._answer(f"dry run of {name}", context, work)

        def alone() -> _Answer:
            with self._alone(name):
                logger.info("%s, asked for by %s", name, context.peer())
                answer = work()
                logger.info("%s: %s", name, " ".join(str(answer).split()) or "nothing to report")
                return answer

        return self._answer(name, context, alone)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        if not self._operation.acquire(blocking=False):
            raise JobBusyError(
                f"{self._under_way} is under way; nothing was done. Try {name} again after it"
            )
        self._under_way = name
        try:
            yield
        finally:
            self._operation.release()

    def _answer(
        self, name: str, context: grpc.ServicerContext, work: Callable[[], _Answer]
    ) -> _Answer:
        """Do the work for a caller who may ask for it; turn any error into a status."""
        try:
            self._check_token(context)
            if not context.is_active():
                raise _DeadlineError  # noqa: TRY301  # all refusals leave by the same way
            return work()
        except _UnknownCallerError as error:
            code, message = grpc.StatusCode.UNAUTHENTICATED, str(error)
        except _DeadlineError:
            code, message = grpc.StatusCode.DEADLINE_EXCEEDED, "no time was left; nothing was done"
        except PsError as error:
            code, message = code_of(error), str(error)
            context.set_trailing_metadata(metadata_of(error))
            logger.info("%s refused: %s", name, message)
        except Exception:
            incident = self._new_id()
            logger.exception("%s failed, incident %s", name, incident)
            code = grpc.StatusCode.INTERNAL
            message = f"the job failed at it; its log has the details under {incident}"
        return _abort(context, code, message)

    def _check_token(self, context: grpc.ServicerContext) -> None:
        """Raise where the caller does not say the token. In constant time, so as not to give hints."""
        if self._token is None:
            return
        sent = dict(context.invocation_metadata()).get(TOKEN_KEY, "")
        said = sent.encode() if isinstance(sent, str) else sent
        if not hmac.compare_digest(said, TOKEN_SCHEME.encode() + self._token):
            raise _UnknownCallerError(
                "the token is wrong" if sent else "this job asks for a token, and none was sent"
            )


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, shortened(message))
    raise AssertionError("abort raises")
