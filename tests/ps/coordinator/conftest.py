"""Worlds of a coordinator, ended after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.ps.coordinator.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path / f"store-{len(made)}", **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()
