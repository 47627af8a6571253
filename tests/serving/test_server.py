"""The server over real gRPC: answers, refusals, health, reflection, metrics, and an orderly end."""

from __future__ import annotations

import shutil
import subprocess
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ps.block import DenseDelta
from serving import predict_pb2 as pb
from serving import predict_pb2_grpc as pb_grpc
from serving.client import PredictClient
from serving.config import ServingConfig
from serving.errors import (
    ConfigError,
    PredictError,
    RequestRefusedError,
    ServerFaultError,
    ServerStartError,
    TooLargeError,
)
from serving.metrics import ServingMetrics
from serving.predictor import Predictor
from serving.server import SERVICE, PredictServer
from serving.service import PredictService
from tests.serving.world import MODEL, SPEC, World, block, make_model, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving.prediction import Prediction
    from serving.query import Query
    from serving.requests import FeatureValue

DEADLINE_S = 20.0
CONTEXT = {"user_id": 3, "position": 1}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@contextmanager
def channel_to(server: PredictServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as channel:
        yield channel


def health_of(channel: grpc.Channel, service: str = SERVICE) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return int(stub.Check(request, timeout=DEADLINE_S).status)


def watch_health(channel: grpc.Channel) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=DEADLINE_S)


def test_both_forms_give_the_same_answer_for_many_candidates(client: PredictClient) -> None:
    n = 3_000
    items: list[dict[str, FeatureValue]] = [
        {"item_id": i % 60, "tags": ["a", "b"][: i % 3], "price": 0.5 * i} for i in range(n)
    ]
    named = client.predict(CONTEXT, items, request_id="r1", timeout_s=DEADLINE_S)
    packed = client.predict_packed(
        CONTEXT,
        {
            "item_id": np.arange(n) % 60,
            "tags": [["a", "b"][: i % 3] for i in range(n)],
            "price": 0.5 * np.arange(n),
        },
        timeout_s=DEADLINE_S,
    )
    assert named.probabilities.shape == (n,)
    assert named.probabilities.dtype == np.float32
    np.testing.assert_array_equal(named.probabilities, packed.probabilities)
    assert ((named.probabilities >= 0) & (named.probabilities <= 1)).all()
    assert named.version.model == MODEL
    assert [s.epoch for s in named.version.shards] == [1]
    assert named.staleness_s == pytest.approx(1.0)
    assert named.unknown_fids["embedding"] > 0


def test_the_model_describes_itself(client: PredictClient) -> None:
    model = client.get_model()
    assert model.ready
    assert model.rows == 100
    features = {feature.name: feature for feature in model.features}
    assert list(features["tags"].types) == ["bool", "int", "string"]
    assert features["tags"].multi_valued
    assert [name for name, feature in features.items() if feature.required] == ["position"]


@pytest.mark.parametrize(
    ("context", "candidates", "message"),
    [
        (CONTEXT, [{"itme": 1}], "feature 'itme', candidate 0"),
        (CONTEXT, [{"item_id": 1}, {"item_id": 0.5}], "feature 'item_id', candidate 1"),
        (CONTEXT, [{"price": float("nan")}], "nan was sent"),
        (CONTEXT, [{"price": float("inf")}], "inf was sent"),
        (CONTEXT, [], "there are no candidates"),
    ],
)
def test_a_wrong_request_is_refused_by_name(
    client: PredictClient, context: Any, candidates: Any, message: str
) -> None:
    with pytest.raises(RequestRefusedError, match=f"INVALID_ARGUMENT: .*{message}"):
        client.predict(context, candidates)


def test_another_model_is_not_found(client: PredictClient) -> None:
    with pytest.raises(RequestRefusedError, match=r"NOT_FOUND: no model 'x' here; .*'clicks'"):
        client.predict(CONTEXT, [{"item_id": 1}], model="x")
    assert client.predict(CONTEXT, [{"item_id": 1}], model=MODEL).probabilities.shape == (1,)


def test_a_long_message_still_reaches_the_client(client: PredictClient) -> None:
    with pytest.raises(RequestRefusedError, match=r"xxx\.\.\.$"):
        client.predict(CONTEXT, [{"x" * 100_000: 1}])


def test_a_request_over_the_size_limit_is_refused(world: World) -> None:
    config = ServingConfig(max_message_bytes=2_000)
    with world.server(config) as server, PredictClient(server.target) as client:
        with pytest.raises(TooLargeError, match=r"RESOURCE_EXHAUSTED: .*larger than max"):
            client.predict(CONTEXT, [{"title": "w" * 5_000}])
        assert client.predict(CONTEXT, [{"title": "w"}]).probabilities.shape == (1,)


def test_more_candidates_than_allowed_are_refused(world: World) -> None:
    with (
        world.server(ServingConfig(max_candidates=2)) as server,
        PredictClient(server.target) as client,
        pytest.raises(RequestRefusedError, match="takes 2 at once"),
    ):
        client.predict(CONTEXT, [{}] * 3)


def test_health_follows_the_replica_and_the_shutdown() -> None:
    world = make_world(ready=False)
    server = world.server()
    server.start()
    with channel_to(server) as channel:
        seen = (answer.status for answer in watch_health(channel))
        assert next(seen) == NOT_SERVING
        assert health_of(channel, "") == NOT_SERVING
        with pytest.raises(grpc.RpcError) as refused:
            pb_grpc.PredictStub(channel).Predict(
                pb.PredictRequest(
                    context={"position": pb.Value(int=1)}, candidates=[pb.Candidate()]
                ),
                timeout=DEADLINE_S,
            )
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        world.replica.apply(block(1))
        assert next(seen) == SERVING
        assert health_of(channel, "") == SERVING
        assert server.stop(DEADLINE_S), "a watcher kept the server from stopping"
        assert list(seen) == [NOT_SERVING]


def test_watching_health_goes_on_when_another_server_of_the_process_stops(world: World) -> None:
    other = make_world(ready=False)
    with other.server() as survivor:
        with world.server():
            pass
        with channel_to(survivor) as channel:
            watch = watch_health(channel)
            assert next(iter(watch)).status == NOT_SERVING
            watch.cancel()


def test_a_model_that_cannot_predict_is_not_announced(caplog: pytest.LogCaptureFixture) -> None:
    world = make_world(ready=False)
    whole = block(1)
    broken = {
        name: DenseDelta(np.full_like(delta.weights, np.nan), delta.state)
        for name, delta in whole.dense.items()
    }
    with world.server() as server, channel_to(server) as channel:
        world.replica.apply(replace(whole, dense=broken))
        assert health_of(channel) == NOT_SERVING
    assert "cannot predict; not serving" in caplog.text


def test_reflection_lists_the_services(server: PredictServer) -> None:
    with channel_to(server) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(stub.ServerReflectionInfo(iter([request]), timeout=DEADLINE_S))
    assert {service.name for service in answer.list_services_response.service} == {
        "trilith.serving.v1.Predict",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


class HeldPredictor(Predictor):
    """Holds predictions of more than one candidate until it is told to go on; or fails them."""

    def __init__(self, world: World) -> None:
        super().__init__(SPEC, make_model, world.replica, world.clock)
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.fails = False

    def predict(self, query: Query) -> Prediction:
        if self.fails and query.size > 1:
            raise RuntimeError("secret of the server")
        if query.size > 1:
            self.entered.release()
            assert self.go_on.wait(DEADLINE_S)
        return super().predict(query)


TWO: list[dict[str, int]] = [{"item_id": 1}, {"item_id": 2}]


def test_a_stop_lets_calls_under_way_finish_and_takes_no_more(world: World) -> None:
    predictor = HeldPredictor(world)
    server = PredictServer(predictor, world.clock)
    server.start()
    answers: list[Prediction] = []
    with PredictClient(server.target) as client:

        def call() -> None:
            answers.append(client.predict(CONTEXT, TWO, timeout_s=DEADLINE_S))

        under_way = threading.Thread(target=call)
        under_way.start()
        assert predictor.entered.acquire(timeout=DEADLINE_S)
        stopped: list[bool] = []
        stopping = threading.Thread(target=lambda: stopped.append(server.stop(DEADLINE_S)))
        stopping.start()
        with PredictClient(server.target, timeout_s=1.0) as late, pytest.raises(PredictError):
            late.predict(CONTEXT, TWO)
        predictor.go_on.set()
        under_way.join(DEADLINE_S)
        stopping.join(DEADLINE_S)
    assert [len(answer.probabilities) for answer in answers] == [2]
    assert stopped == [True]
    assert server.wait(DEADLINE_S)


def test_a_deadline_is_honoured_by_both_sides(world: World) -> None:
    predictor = HeldPredictor(world)
    config = ServingConfig(threads=1)
    with PredictServer(predictor, world.clock, config) as server:
        with channel_to(server) as channel:
            stub = pb_grpc.PredictStub(channel)
            request = pb.PredictRequest(
                context={"position": pb.Value(int=1)}, candidates=[pb.Candidate()] * 2
            )
            held = stub.Predict.future(request, timeout=DEADLINE_S)
            assert predictor.entered.acquire(timeout=DEADLINE_S)
            with pytest.raises(grpc.RpcError) as late:
                stub.Predict(request, timeout=0.05)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            predictor.go_on.set()
            assert len(held.result(timeout=DEADLINE_S).probabilities) == 2
            # The late one, next in line for the only thread, was not computed.
            stub.GetModel(pb.GetModelRequest(), timeout=DEADLINE_S)
        assert not predictor.entered.acquire(blocking=False)


class GoneContext:
    """A call whose caller has gone."""

    def is_active(self) -> bool:
        return False

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise LookupError(code.name, details)


def test_a_call_whose_caller_has_gone_is_not_computed(world: World) -> None:
    metrics = ServingMetrics(world.replica)
    service = PredictService(world.predictor, metrics, world.clock, max_candidates=10)
    context: Any = GoneContext()
    with pytest.raises(LookupError, match="DEADLINE_EXCEEDED"):
        service.Predict(pb.PredictRequest(), context)
    labels = {"method": "Predict", "code": "DEADLINE_EXCEEDED"}
    assert metrics.registry.get_sample_value("trilith_serving_requests_total", labels) == 1


def test_a_fault_is_logged_under_an_id_and_keeps_its_secrets(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = HeldPredictor(world)
    predictor.fails = True
    with (
        PredictServer(predictor, world.clock) as server,
        PredictClient(server.target) as client,
    ):
        with pytest.raises(ServerFaultError, match=r"INTERNAL: .* under [0-9a-f]{32}") as fault:
            client.predict(CONTEXT, TWO)
        assert "secret" not in str(fault.value)
        incident = str(fault.value)[-32:]
        assert any(incident in record.getMessage() for record in caplog.records)
        assert "secret of the server" in caplog.text
        assert client.predict(CONTEXT, TWO[:1]).probabilities.shape == (1,)


def test_too_many_calls_at_once_are_refused(world: World) -> None:
    predictor = HeldPredictor(world)
    config = ServingConfig(threads=1, max_concurrent_requests=1)
    with PredictServer(predictor, world.clock, config) as server, channel_to(server) as channel:
        stub = pb_grpc.PredictStub(channel)
        request = pb.PredictRequest(
            context={"position": pb.Value(int=1)}, candidates=[pb.Candidate()] * 2
        )
        held = stub.Predict.future(request, timeout=DEADLINE_S)
        assert predictor.entered.acquire(timeout=DEADLINE_S)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(request, timeout=DEADLINE_S)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        predictor.go_on.set()
        held.result(timeout=DEADLINE_S)


def test_concurrent_clients_get_answers_of_one_model_while_blocks_are_applied(
    world: World,
) -> None:
    errors: list[Exception] = []
    done = threading.Event()
    answered = [0] * 3

    def ask(number: int, target: str) -> None:
        try:
            with PredictClient(target, timeout_s=DEADLINE_S) as client:
                while not done.is_set():
                    items = [{"item_id": 7}, {"item_id": 7}]
                    found = client.predict(CONTEXT, items).probabilities
                    assert np.isfinite(found).all()
                    assert found[0] == found[1]
                    answered[number] += 1
        except (PredictError, AssertionError) as error:
            errors.append(error)

    with world.server() as server:
        threads = [
            threading.Thread(target=ask, args=(i, server.target)) for i in range(len(answered))
        ]
        for thread in threads:
            thread.start()
        for epoch in range(2, 60):
            world.replica.apply(block(epoch, base=epoch % 20 == 0))
        done.set()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert not errors
    assert min(answered) > 0


def test_calls_are_counted_and_shown_on_a_page(world: World) -> None:
    with world.server(ServingConfig(metrics_port=0)) as server:
        with PredictClient(server.target, timeout_s=DEADLINE_S) as client:
            client.predict(CONTEXT, TWO)
            with pytest.raises(RequestRefusedError):
                client.predict(CONTEXT, [])
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as page:
            text = page.read().decode()
    assert 'trilith_serving_requests_total{code="OK",method="Predict"} 1.0' in text
    assert 'trilith_serving_requests_total{code="INVALID_ARGUMENT",method="Predict"} 1.0' in text
    assert "trilith_serving_candidates_sum 2.0" in text
    assert "trilith_replica_staleness_seconds 1.0" in text
    assert "trilith_replica_rows 100.0" in text


def test_a_port_in_use_is_an_error(server: PredictServer, world: World) -> None:
    second = world.server(ServingConfig(port=server.port))
    with pytest.raises(ServerStartError, match=r"cannot listen on 127\.0\.0\.1"):
        second.start()
    second.stop()


def test_a_certificate_that_is_not_there_is_an_error(world: World, tmp_path: Path) -> None:
    config = ServingConfig(cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
    server = world.server(config)
    with pytest.raises(ServerStartError, match=r"cert\.pem|key\.pem"):
        server.start()
    server.stop()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"port": 70_000}, "port is 70000"),
        ({"metrics_port": -1}, "metrics_port is -1"),
        ({"grace_s": float("nan")}, "grace_s is nan"),
        ({"host": ""}, "host is empty"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServingConfig(**settings)


def test_half_of_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both cert_file and key_file"):
        ServingConfig(cert_file=tmp_path / "cert.pem")


def test_with_a_certificate_the_channel_is_encrypted(world: World, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with openssl, which is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", "/CN=test", "-keyout", str(key), "-out", str(cert)]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_S)
    with world.server(ServingConfig(cert_file=cert, key_file=key)) as server:
        trusted = cert.read_bytes()
        with PredictClient(
            server.target, timeout_s=DEADLINE_S, root_certificates=trusted
        ) as client:
            assert client.predict(CONTEXT, TWO).probabilities.shape == (2,)
        with PredictClient(server.target, timeout_s=1.0) as plain, pytest.raises(PredictError):
            plain.predict(CONTEXT, TWO)
