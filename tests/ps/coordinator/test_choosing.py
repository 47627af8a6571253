"""Which process is to lead a shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ps.block import Cursor
from ps.coordinator.choosing import Candidate, choose
from ps.host.port import HostStatus

if TYPE_CHECKING:
    from ps.host.port import Role

SAVED = Cursor(10, 3)


@dataclass
class Seat:
    name: str

    @property
    def process(self) -> str | None:
        return self.name

    @property
    def port(self) -> Any:
        raise AssertionError("nobody is asked while choosing")


def process(
    name: str, role: Role, cursor: tuple[int, int] | None = None, shard: int = 0, shards: int = 2
) -> Candidate:
    at = None if cursor is None else Cursor(*cursor)
    return Candidate(
        Seat(name),
        HostStatus(name, "node", 1, "a", role, "f", shard, shards, cursor=at),
    )


def test_nobody_is_chosen_where_nobody_is() -> None:
    assert choose([], 0, 2, SAVED) is None


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([process("a", "empty")], ("restore", "a")),
        ([process("a", "leading", (12, 3)), process("b", "following", (13, 3))], ("adopt", "a")),
        # Of two that think they lead, the one of the later generation.
        ([process("a", "leading", (99, 4)), process("b", "leading", (11, 5))], ("adopt", "b")),
        (
            [process("a", "following", (12, 3)), process("b", "following", (14, 3))],
            ("promote", "b"),
        ),
        # What is behind the store cannot be saved, be its epoch what it may.
        ([process("a", "following", (99, 2)), process("b", "empty")], ("restore", "b")),
        ([process("a", "leading", (9, 3))], ("restore", "a")),
        ([process("a", "following", (10, 3))], ("promote", "a")),
        # Of another set of shards.
        ([process("a", "leading", (12, 9), shards=3)], ("restore", "a")),
        ([process("a", "leading", (12, 9), shard=1)], ("restore", "a")),
        ([process("a", "following"), process("b", "empty")], ("restore", "b")),
    ],
)
def test_whoever_is_furthest_on_leads(there: list[Candidate], expected: tuple[str, str]) -> None:
    choice = choose(there, 0, 2, SAVED)
    assert choice is not None
    assert (choice.how, choice.candidate.seat.name) == expected


def test_nothing_is_kept_where_the_job_goes_on_from_elsewhere() -> None:
    choice = choose([process("a", "leading", (12, 3))], 0, 2, SAVED, may_keep=False)
    assert choice is not None
    assert choice.how == "restore"


def test_who_is_to_be_replaced_leads_only_where_there_is_no_other() -> None:
    old, standby = process("a", "leading", (12, 3)), process("b", "following", (11, 3))
    choice = choose([old, standby], 0, 2, SAVED, avoid="a")
    assert choice is not None
    assert (choice.how, choice.candidate.seat.name) == ("promote", "b")
    choice = choose([old], 0, 2, SAVED, avoid="a")
    assert choice is not None
    assert choice.how == "restore"
