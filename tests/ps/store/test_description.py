"""What a store holds against what a job asks for, in sentences."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ps.admission import AdmitAfter, AdmitWithProbability
from ps.dense import DenseSpec
from ps.errors import SpecError
from ps.initializers import Initializer
from ps.optimizers import AdaGrad, FtrlProximal, Sgd
from ps.shard import ShardSpec
from ps.store.description import describe, differences
from ps.table.spec import SlotPolicy, TableSpec

USERS = TableSpec(
    "users",
    8,
    AdaGrad(),
    Initializer("uniform", 0.01),
    (SlotPolicy(1, ttl_s=60, admission=AdmitAfter(3)), SlotPolicy(2)),
)
ITEMS = TableSpec("items", 1, FtrlProximal())
WEIGHTS = DenseSpec("w", (4, 2), AdaGrad())
BIAS = DenseSpec("b", (), Sgd())


def spec(
    tables: tuple[TableSpec, ...] = (USERS, ITEMS),
    dense: tuple[DenseSpec, ...] = (WEIGHTS, BIAS),
    **changes: Any,
) -> ShardSpec:
    return ShardSpec("model", tables, dense, **changes)


STORED = describe([spec()])


def told(job: ShardSpec, *reset: str) -> list[str]:
    return differences(STORED, describe([job]), reset)


def users(**changes: Any) -> ShardSpec:
    return spec((dataclasses.replace(USERS, **changes), ITEMS))


def test_shards_are_described_together() -> None:
    one, other = spec(dense=(WEIGHTS,)), spec(dense=(BIAS,), shard=1)
    assert describe([one, other]) == STORED
    assert STORED.tables["users"].slots == {
        1: "kept 60 s, admitted after 3 occurrences",
        2: "kept for ever, all admitted",
    }
    assert STORED.dense["w"].state_size == 8
    for wrong in ([], [one, spec(seed=1)], [one, users(width=2)]):
        with pytest.raises(SpecError):
            describe(wrong)


@pytest.mark.parametrize(
    "job",
    [
        spec(),
        spec((ITEMS, USERS)),
        spec(
            (USERS, ITEMS, TableSpec("new", 3, Sgd())), (WEIGHTS, BIAS, DenseSpec("n", (), Sgd()))
        ),
        users(slots=(*USERS.slots, SlotPolicy(9))),
        users(slots=(SlotPolicy(1, learning_rate=0.5), SlotPolicy(2, ttl_s=5))),
        users(slots=(SlotPolicy(1, admission=AdmitWithProbability(0.5)), SlotPolicy(2))),
        users(optimizer=AdaGrad(learning_rate=0.5), capacity_rows=10, on_full="evict"),
    ],
)
def test_what_may_change_is_no_difference(job: ShardSpec) -> None:
    assert told(job) == []


@pytest.mark.parametrize(
    ("job", "sentences"),
    [
        (users(width=16), ["table users: width is 16 in the job, 8 in the store"]),
        (
            users(optimizer=Sgd()),
            ["table users: optimizer is sgd in the job, adagrad in the store"],
        ),
        (
            users(initializer=Initializer("normal", 0.1, leading_zeros=1)),
            [
                "table users: initializer is normal 0.1, first 1 at 0 in the job, uniform 0.01 in the store"
            ],
        ),
        (
            users(slots=(SlotPolicy(1),)),
            ["table users: slot 2 is in the store, not in the job (to drop it: users.2)"],
        ),
        (spec((USERS,)), ["table items is in the store, not in the job"]),
        (spec(dense=(BIAS,)), ["dense variable w is in the store, not in the job"]),
        (
            spec(dense=(BIAS, DenseSpec("w", (4, 3), AdaGrad()))),
            ["dense variable w: shape is [4, 3] in the job, [4, 2] in the store"],
        ),
        (
            spec(seed=3),
            [
                "the seed is 3 in the job, 0 in the store; it decides what fids without a row read as"
            ],
        ),
    ],
)
def test_every_difference_is_a_sentence(job: ShardSpec, sentences: list[str]) -> None:
    assert told(job) == sentences


def test_what_begins_afresh_may_differ() -> None:
    job = spec((dataclasses.replace(USERS, width=3),), (BIAS,))
    assert len(told(job)) == 3
    assert told(job, "users", "items") == ["dense variable w is in the store, not in the job"]
    assert told(job, "users", "items", "w") == []
    assert told(users(slots=(SlotPolicy(1),)), "users.2") == []
