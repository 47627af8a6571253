"""Servers for the serving tests: real gRPC on the loopback, ended with the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from serving.client import PredictClient
from tests.serving.world import World, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving.server import PredictServer


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def server(world: World) -> Iterator[PredictServer]:
    with world.server() as server:
        yield server


@pytest.fixture
def client(server: PredictServer) -> Iterator[PredictClient]:
    with PredictClient(server.target, timeout_s=20.0) as client:
        yield client
