"""The admin service over real gRPC: what a job says arrives whole, and so do its errors."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, get_type_hints

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ps import admin_pb2 as pb
from ps import admin_pb2_grpc as pb_grpc
from ps.admin.client import AdminClient
from ps.admin.errors import (
    AdminFaultError,
    AdminRefusedError,
    AdminStartError,
    AdminTimeoutError,
    AdminUnreachableError,
)
from ps.admin.server import SERVICE, AdminServer
from ps.admin.target import AdminSettings
from ps.errors import (
    CorruptFileError,
    IncompatibleModelError,
    JobBusyError,
    NoRestorePointError,
    NoStoreError,
    PsError,
    SpecError,
    StoreError,
    StoreInUseError,
    StoreUnavailableError,
    UnknownTableError,
)
from ps.faults import KINDS
from tests.ps.admin.certificates import make_certificate
from tests.ps.admin.job import (
    ABSENT,
    BARE,
    FID,
    POINTS,
    POSITIONS,
    ROW,
    SLOT,
    STATUS,
    TABLES,
    RecordingJob,
)

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S = 20.0
TOKEN = "a-token-of-the-test"  # noqa: S105
BLANK, UMLAUT = " ", "ü"
EVERYWHERE = "0.0.0.0"  # noqa: S104

FACTS: dict[Any, Any] = {str: "with a rémedy", int: 7, float: 1.5, list[str]: ["one", "two"]}


def example(kind: type[PsError]) -> PsError:
    """An error of a class, made of facts where it has any."""
    named = [base for base in kind.__mro__ if "__init__" in vars(base)]
    if named[0] is Exception:
        return kind("something, with a remedy")
    hints = get_type_hints(vars(named[0])["__init__"])
    make: Any = kind
    error: PsError = make(*(FACTS[hint] for name, hint in hints.items() if name != "return"))
    return error


def test_a_status_arrives_whole(client: AdminClient, job: RecordingJob) -> None:
    assert client.status() == STATUS
    job.state = BARE
    assert client.status() == BARE


def test_every_answer_arrives_whole_and_every_argument_with_it(
    client: AdminClient, job: RecordingJob
) -> None:
    assert client.tables() == TABLES
    assert client.inspect_fid(FID, None) == [ROW, ABSENT]
    assert client.inspect_fid((1 << 64) - 1, "users") == [ROW, ABSENT]
    assert client.inspect_slot(3, None, 5)[0] == SLOT
    assert client.restore_points() == POINTS
    assert client.create_snapshot("before-launch").pinned_by == "before-launch"
    pruned = client.prune(dry_run=True)
    assert (pruned.dry_run, pruned.restore_points, pruned.files) == (True, (1000, 1001), 44)
    skips = {"clicks/0": ((100, 200), (250, 260)), "a:b": ((0, 1),)}
    rolled = client.rollback(1100, skips, dry_run=False)
    assert (rolled.dry_run, rolled.skips, rolled.positions) == (False, skips, POSITIONS)
    assert (rolled.rows_changed, rolled.rows_removed, rolled.seconds) == (77, 8, 0.5)
    assert client.reshard(3, dry_run=False).shards_after == 3
    failed = client.failover(1)
    assert (failed.shard, failed.source, failed.epoch) == (1, "standby", 1206)
    client.pause("training")
    client.resume("publishing")
    assert client.expire() == {"items": 0, "users": 12}
    assert job.calls == [
        ("tables",),
        ("inspect_fid", FID, None),
        ("inspect_fid", (1 << 64) - 1, "users"),
        ("inspect_slot", 3, None, 5),
        ("restore_points",),
        ("create_snapshot", "before-launch"),
        ("prune", True),
        ("rollback", 1100, skips, False),
        ("reshard", 3, False),
        ("failover", 1),
        ("pause", "training"),
        ("resume", "publishing"),
        ("expire",),
    ]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_error_of_the_job_is_raised_again(
    client: AdminClient, job: RecordingJob, kind: type[PsError]
) -> None:
    error = job.fails = example(kind)
    with pytest.raises(PsError) as raised:
        client.expire()
    assert type(raised.value) is kind
    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)


def test_facts_too_long_for_a_header_give_the_nearest_plain_error(
    client: AdminClient, job: RecordingJob
) -> None:
    job.fails = IncompatibleModelError("file:///x", [f"slot {i} is gone" for i in range(1_000)])
    with pytest.raises(StoreError, match=r"no longer matches store file:///x") as raised:
        client.status()
    assert type(raised.value) is StoreError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownTableError("x", []), grpc.StatusCode.NOT_FOUND),
        (NoRestorePointError("none"), grpc.StatusCode.NOT_FOUND),
        (SpecError("wrong"), grpc.StatusCode.INVALID_ARGUMENT),
        (JobBusyError("busy"), grpc.StatusCode.ABORTED),
        (CorruptFileError("a", "cut"), grpc.StatusCode.DATA_LOSS),
        (StoreUnavailableError("away"), grpc.StatusCode.UNAVAILABLE),
        (NoStoreError("prune"), grpc.StatusCode.FAILED_PRECONDITION),
        (StoreInUseError("u", "h"), grpc.StatusCode.FAILED_PRECONDITION),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_clients_see_a_status_code(
    server: AdminServer, job: RecordingJob, error: PsError, code: grpc.StatusCode
) -> None:
    job.fails = error
    with (
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        pb_grpc.AdminStub(channel).GetStatus(pb.GetStatusRequest(), timeout=DEADLINE_S)
    assert refused.value.code() is code
    assert refused.value.details() == str(error)


def test_a_fault_is_logged_under_an_id_and_keeps_its_secrets(
    client: AdminClient, job: RecordingJob, caplog: pytest.LogCaptureFixture
) -> None:
    job.fails = RuntimeError("secret of the job")
    with pytest.raises(AdminFaultError, match=r"under [0-9a-f]{32}") as fault:
        client.expire()
    assert "secret" not in str(fault.value)
    assert str(fault.value)[-32:] in caplog.text
    assert "secret of the job" in caplog.text
    job.fails = None
    assert client.status() == STATUS


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.InspectSlotRequest(slot=65_536, rows=1), "slot 65536 is outside"),
        (pb.InspectSlotRequest(slot=3, rows=1_000_000), "1,000,000 rows are too many"),
        (pb.CreateSnapshotRequest(name="../x"), r"cannot be called '\.\./x'"),
        (pb.CreateSnapshotRequest(), "cannot be called ''"),
        (pb.PauseRequest(), "neither training nor publishing"),
        (
            pb.RollbackRequest(epoch=1, skips={"p": pb.Ranges(ranges=[pb.Range(begin=5, end=5)])}),
            "skip p:5-5 leaves nothing out",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_is_refused_before_the_job_is_asked(
    server: AdminServer, job: RecordingJob, request_: Any, message: str
) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = pb_grpc.AdminStub(channel)
        calls: dict[type, Any] = {
            pb.InspectSlotRequest: stub.InspectSlot,
            pb.CreateSnapshotRequest: stub.CreateSnapshot,
            pb.PauseRequest: stub.Pause,
            pb.RollbackRequest: stub.Rollback,
        }
        with pytest.raises(grpc.RpcError, match=message) as refused:
            calls[type(request_)](request_, timeout=DEADLINE_S)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert job.calls == []


def test_one_operation_at_a_time_while_others_look_on(
    client: AdminClient, job: RecordingJob
) -> None:
    job.hold = threading.Event()
    done: list[int] = []

    def roll_back() -> None:
        done.append(client.rollback(1100, {}, dry_run=False).to_epoch)

    under_way = threading.Thread(target=roll_back)
    under_way.start()
    try:
        assert job.held.wait(DEADLINE_S)
        for refused in (
            client.expire,
            lambda: client.failover(0),
            lambda: client.prune(dry_run=False),
        ):
            with pytest.raises(JobBusyError, match="rollback to epoch 1100 is under way"):
                refused()
        assert client.status() == STATUS
    finally:
        job.hold.set()
        under_way.join(DEADLINE_S)
    assert done == [1100]
    assert client.expire() == {"items": 0, "users": 12}
    assert [call[0] for call in job.calls] == ["rollback", "status", "expire"]


def test_a_deadline_ends_the_wait_but_not_the_operation(
    server: AdminServer, job: RecordingJob
) -> None:
    job.hold = threading.Event()
    with AdminClient(server.address, timeout_s=0.3) as client:
        with pytest.raises(AdminTimeoutError, match="goes on there: look at its status"):
            client.failover(1)
        assert job.held.wait(DEADLINE_S)
        with pytest.raises(JobBusyError, match="failover of shard 1 is under way"):
            client.expire()
        job.hold.set()


def test_operations_are_on_record(client: AdminClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="ps.admin"):
        client.reshard(3, dry_run=False)
    assert "reshard to 3, asked for by ipv4:127.0.0.1" in caplog.text
    assert "shards_after: 3" in caplog.text


def test_health_and_reflection(server: AdminServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = next(stub.ServerReflectionInfo(iter([asked]), timeout=DEADLINE_S))
    names = {service.name for service in listed.list_services_response.service}
    assert "trilith.ps.v1.Admin" in names


def test_nothing_there_is_told(server: AdminServer) -> None:
    address = server.address
    server.stop()
    with (
        AdminClient(address, timeout_s=5.0) as client,
        pytest.raises(AdminUnreachableError, match=f"{address}: no job answers there"),
    ):
        client.status()


def test_a_port_in_use_is_an_error(server: AdminServer, job: RecordingJob) -> None:
    second = AdminServer(job, AdminSettings(port=server.port))
    with pytest.raises(AdminStartError, match=r"cannot listen on 127\.0\.0\.1:\d+"):
        second.start()
    second.stop()


def test_a_port_before_start_is_an_error(job: RecordingJob) -> None:
    server = AdminServer(job)
    with pytest.raises(AdminStartError, match=r"call start\(\) first"):
        _ = server.port
    server.stop()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (AdminSettings(EVERYWHERE), "set a token and a TLS certificate with its key"),
        (AdminSettings("ranker-1"), "set a token and a TLS certificate with its key"),
        (AdminSettings("::", token=TOKEN), "set a TLS certificate with its key, or listen on"),
        (AdminSettings("10.0.0.1", tls_cert=b"c", tls_key=b"k"), "set a token, or listen on"),
        (AdminSettings(tls_cert=b"c"), "both a certificate and its key"),
        (AdminSettings(token=BLANK), "token is empty"),
        (AdminSettings(token=UMLAUT), "printable ASCII"),
        (AdminSettings(host=""), "host is empty"),
        (AdminSettings(port=70_000), "port is 70000"),
    ],
)
def test_settings_that_let_strangers_in_are_refused(
    job: RecordingJob, settings: AdminSettings, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        AdminServer(job, settings)


def test_a_token_stays_out_of_what_is_printed() -> None:
    settings = AdminSettings(token=TOKEN, tls_key=b"private")
    assert TOKEN not in repr(settings)
    assert "private" not in repr(settings)


def test_only_who_says_the_token_is_heard(job: RecordingJob) -> None:
    with AdminServer(job, AdminSettings(token=TOKEN)) as server:
        for token, message in ((None, "none was sent"), ("wrong", "the token is wrong")):
            with (
                AdminClient(server.address, token=token, timeout_s=DEADLINE_S) as client,
                pytest.raises(AdminRefusedError, match=message),
            ):
                client.status()
        assert job.calls == []
        with AdminClient(server.address, token=TOKEN, timeout_s=DEADLINE_S) as client:
            assert client.status() == STATUS


def test_beyond_loopback_it_takes_a_token_and_tls(job: RecordingJob, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    settings = AdminSettings(
        EVERYWHERE, token=TOKEN, tls_cert=cert.read_bytes(), tls_key=key.read_bytes()
    )
    with AdminServer(job, settings) as server:
        address = f"127.0.0.1:{server.port}"
        ca = cert.read_bytes()
        with AdminClient(address, token=TOKEN, tls_ca=ca, timeout_s=DEADLINE_S) as client:
            assert client.status() == STATUS
        with (
            AdminClient(address, tls_ca=ca, timeout_s=DEADLINE_S) as client,
            pytest.raises(AdminRefusedError),
        ):
            client.status()
        with (
            AdminClient(address, token=TOKEN, timeout_s=DEADLINE_S) as client,
            pytest.raises(AdminUnreachableError),
        ):
            client.status()
    assert job.calls == [("status",)]


def test_a_certificate_that_is_none_is_an_error(job: RecordingJob) -> None:
    server = AdminServer(job, AdminSettings(tls_cert=b"no", tls_key=b"pem"))
    with pytest.raises(AdminStartError, match=r"cannot listen on 127\.0\.0\.1"):
        server.start()
    server.stop()
