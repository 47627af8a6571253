"""What a store's tables and dense variables are, and how a job's differ from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ps.initializers import Initializer
    from ps.shard import ShardSpec
    from ps.table.spec import SlotPolicy, TableSpec


@dataclass(frozen=True, slots=True)
class TableDescription:
    """What a row of a table means. optimizer: its kind; initializer: kind and scale, in words.
    slots: by number, ttl and admission in words (they may change between runs).
    """

    width: int
    state_width: int
    optimizer: str
    initializer: str
    slots: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class DenseDescription:
    """A dense variable. state_size: floats of optimizer state."""

    shape: tuple[int, ...]
    state_size: int
    optimizer: str


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Everything that decides whether stored rows still mean what a job takes them for.

    seed: decides the initial values of fids without a row.
    """

    seed: int
    tables: Mapping[str, TableDescription]
    dense: Mapping[str, DenseDescription]


def describe(specs: Sequence[ShardSpec]) -> ModelDescription:
    """What the shards of one model hold together; tables are the same in each, dense variables not.

    Raises SpecError where the shards are not of one model.
    """
    if not specs:
        raise SpecError("a model without shards cannot be described; make at least one")
    for spec in specs[1:]:
        if (spec.seed, spec.tables) != (specs[0].seed, specs[0].tables):
            raise SpecError(
                f"shard {spec.shard} has other tables or another seed than shard {specs[0].shard}; "
                "build all shards from one job"
            )
    return ModelDescription(
        seed=specs[0].seed,
        tables={table.name: _describe_table(table) for table in specs[0].tables},
        dense={
            variable.name: DenseDescription(
                shape=tuple(variable.shape),
                state_size=variable.optimizer.state_width(variable.size),
                optimizer=variable.optimizer.name,
            )
            for spec in specs
            for variable in spec.dense
        },
    )


def differences(
    stored: ModelDescription, job: ModelDescription, reset: Collection[str] = ()
) -> list[str]:
    """What keeps a job from going on with a store's rows, one sentence each; none: it can.

    A slot's ttl, admission and rate may change, and so may an optimizer's settings; slots, tables and
    dense variables may be added. reset: tables, slots (TABLE.SLOT) and dense variables that may begin
    afresh, whatever has changed about them.
    """
    found = []
    if stored.seed != job.seed:
        found.append(
            f"the seed is {job.seed} in the job, {stored.seed} in the store; it decides what fids "
            "without a row read as"
        )
    for name, table in sorted(stored.tables.items()):
        if name in reset:
            continue
        if name not in job.tables:
            found.append(f"table {name} is in the store, not in the job")
            continue
        found += [f"table {name}: {how}" for how in _table_differences(table, job.tables[name])]
        found += [
            f"table {name}: slot {slot} is in the store, not in the job (to drop it: {name}.{slot})"
            for slot in sorted(set(table.slots) - set(job.tables[name].slots))
            if f"{name}.{slot}" not in reset
        ]
    for name, variable in sorted(stored.dense.items()):
        if name in reset:
            continue
        if name not in job.dense:
            found.append(f"dense variable {name} is in the store, not in the job")
            continue
        now = job.dense[name]
        found += [
            f"dense variable {name}: {how}"
            for how in _changes(
                ("shape", list(now.shape), list(variable.shape)),
                ("optimizer", now.optimizer, variable.optimizer),
                ("optimizer state", now.state_size, variable.state_size),
            )
        ]
    return found


def _describe_table(table: TableSpec) -> TableDescription:
    return TableDescription(
        width=table.width,
        state_width=table.state_width,
        optimizer=table.optimizer.name,
        initializer=_initializer_in_words(table.initializer),
        slots={policy.slot: _slot_in_words(policy) for policy in table.slots},
    )


def _initializer_in_words(initializer: Initializer) -> str:
    words = (
        initializer.kind
        if initializer.kind == "zeros"
        else (f"{initializer.kind} {initializer.scale!r}")
    )
    if initializer.kind != "zeros" and initializer.leading_zeros:
        words += f", first {initializer.leading_zeros} at 0"
    return words


def _slot_in_words(policy: SlotPolicy) -> str:
    # Here, because its kernels take longer to import than an offline command may take in all.
    from ps.admission import AdmitAfter, AdmitWithProbability

    words = ["kept for ever" if policy.ttl_s is None else f"kept {policy.ttl_s} s"]
    match policy.admission:
        case AdmitAfter(occurrences) if occurrences > 1:
            words.append(f"admitted after {occurrences} occurrences")
        case AdmitWithProbability(probability) if probability < 1:
            words.append(f"admitted with probability {probability!r}")
        case _:
            words.append("all admitted")
    if policy.learning_rate is not None:
        words.append(f"learning rate {policy.learning_rate!r}")
    return ", ".join(words)


def _table_differences(stored: TableDescription, job: TableDescription) -> list[str]:
    return _changes(
        ("width", job.width, stored.width),
        ("optimizer", job.optimizer, stored.optimizer),
        ("optimizer state per row", job.state_width, stored.state_width),
        ("initializer", job.initializer, stored.initializer),
    )


def _changes(*pairs: tuple[str, object, object]) -> list[str]:
    """Of (what, in the job, in the store), those that differ. What follows from a change of width or
    optimizer alone is not said again.
    """
    changed = [(what, now, before) for what, now, before in pairs if now != before]
    return [
        f"{what} is {now} in the job, {before} in the store"
        for what, now, before in changed
        if len(changed) == 1 or not what.startswith("optimizer state")
    ]
