"""The tables, dense variables and slots of a job, as the shards that hold them."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from cluster.job.conventions import has_clock
from cluster.job.explain import did_you_mean
from cluster.job.parameters import InitializerSection, TableSection
from cluster.job.resolve_features import slot_of
from ps.admission import AdmitAfter, AdmitAll, AdmitWithProbability
from ps.buckets import dense_owner, even_shard_map
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.optimizers import AdaGrad, FtrlProximal, Sgd
from ps.shard import ShardSpec
from ps.table.spec import SlotPolicy, TableSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.job.blame import Blame
    from cluster.job.document import KeyPath
    from cluster.job.features import Admission, FidFeatureSection
    from cluster.job.load import Job
    from model.features import FeatureSpec
    from model.model import Model
    from ps.admission import Admission as AdmissionPolicy
    from ps.optimizers import Optimizer

# A uniform draw from (-x, x) has the standard deviation x / sqrt(3).
_LIMIT_OF_DEVIATION = math.sqrt(3.0)
_NO_SETTINGS = TableSection()


def shard_specs(
    job: Job, features: FeatureSpec, model: Model, shards: int, blame: Blame
) -> tuple[ShardSpec, ...]:
    """One specification for each of so many shards. Raises JobFileError."""
    settings = job.settings
    _check_tables(job, features, blame)
    tables = tuple(_table_spec(job, name, model, shards, blame) for name in features.tables)
    with blame.on("dense"):
        optimizer = settings.dense.optimizer or _default_optimizer(settings.model.kind)
        dense = [
            DenseSpec(
                name,
                shape.shape,
                optimizer,
                None if shape.init_scale is None else shape.init_scale * _LIMIT_OF_DEVIATION,
            )
            for name, shape in model.dense_shapes().items()
        ]
    with blame.on("train", "shards"):
        shard_map = even_shard_map(shards)
    fingerprint = f"{job.name}@{_fingerprint(job, features, tables, dense)}"
    with blame.on("tables"):
        return tuple(
            ShardSpec(
                model=fingerprint,
                tables=tables,
                dense=tuple(v for v in dense if dense_owner(v.name, shard_map) == number),
                shard=number,
                seed=settings.train.seed,
            )
            for number in range(shards)
        )


def _check_tables(job: Job, features: FeatureSpec, blame: Blame) -> None:
    known = {*job.settings.tables, "default"}
    for place, section in enumerate(job.settings.features):
        if section.kind != "numeric" and section.table not in known:
            blame.refuse(
                ("features", place, "table"),
                f"found {section.table}, and there is no such table"
                f"{did_you_mean(section.table, known)}; add it to tables, or use one of "
                f"{', '.join(sorted(known))}",
            )
    for name in job.settings.tables:
        if name not in features.tables:
            blame.refuse(
                ("tables", name),
                f"no feature lives in this table; give one table: {name}, or leave the table out",
            )


def _table_spec(job: Job, name: str, model: Model, shards: int, blame: Blame) -> TableSpec:
    kind = job.settings.model.kind
    section = job.settings.tables.get(name, _NO_SETTINGS)
    path: KeyPath = ("tables", name)
    _check_table(job, section, path, blame)
    with blame.on(*path, "initializer"):
        initializer = _initializer(section.initializer, kind, model.leading_zeros)
    if job.settings.train.grain == "example" and initializer.kind != "zeros":
        blame.refuse(
            (*path, "initializer"),
            f"found {initializer.kind}; learning by example starts from zeros: set kind: zeros, "
            "leave the initializer out, or set train.grain: batch",
        )
    slots = _slot_policies(job, name, blame)
    capacity = section.capacity_rows
    optional: dict[str, Any] = {}
    if section.remembered_fids is not None:
        optional["remembered_fids"] = section.remembered_fids
    if section.admission_window is not None:
        optional["admission_window_s"] = math.ceil(section.admission_window)
    with blame.on(*path):
        return TableSpec(
            name=name,
            width=model.row_width,
            optimizer=section.optimizer or _default_optimizer(kind),
            initializer=initializer,
            slots=slots,
            capacity_rows=None if capacity is None else -(-capacity // shards),
            on_full=section.on_full,
            **optional,
        )


def _check_table(job: Job, section: TableSection, path: KeyPath, blame: Blame) -> None:
    if section.on_full == "evict" and section.capacity_rows is None:
        blame.refuse(
            (*path, "on_full"),
            "found evict, and nothing says when the table is full; add capacity_rows, or leave "
            "on_full out",
        )
    if section.admission_window is None:
        return
    if not has_clock(job):
        blame.refuse(
            (*path, "admission_window"),
            "is a span of event time, and events have no time; add event_time: {column: ...}, or "
            "leave it out",
        )
    if section.admission_window < 2:
        blame.refuse(
            (*path, "admission_window"), "is too short; set it to 2s or more, or leave it out"
        )


def _default_optimizer(kind: str) -> Optimizer:
    if kind == "logistic":
        return FtrlProximal(alpha=0.1, beta=1.0)
    if kind == "counting":
        return Sgd(learning_rate=1.0)
    return AdaGrad(learning_rate=0.05)


def _initializer(section: InitializerSection | None, kind: str, leading_zeros: int) -> Initializer:
    if section is None:
        if kind in ("logistic", "counting"):
            return Initializer()
        return Initializer("normal", 0.01, leading_zeros)
    if section.kind == "zeros":
        return Initializer()
    return Initializer(section.kind, section.scale or 0.0, leading_zeros)


def _slot_policies(job: Job, table: str, blame: Blame) -> tuple[SlotPolicy, ...]:
    policies: dict[int, SlotPolicy] = {}
    plain: dict[int, SlotPolicy] = {}
    for place, section in enumerate(job.settings.features):
        if section.kind == "numeric" or section.table != table:
            continue
        path: KeyPath = ("features", place)
        _check_feature(job, section, path, blame)
        with blame.on(*path):
            policy = _slot_policy(section, slot_of(section, place))
        plain.setdefault(policy.slot, SlotPolicy(policy.slot))
        if policy == plain[policy.slot]:
            continue
        if policies.setdefault(policy.slot, policy) != policy:
            blame.refuse(
                path,
                f"shares slot {policy.slot} with another feature, which has another ttl, admission "
                "or learning_rate; say these in one of them only, or give it a slot of its own",
            )
    return tuple({**plain, **policies}.values())


def _check_feature(job: Job, section: FidFeatureSection, path: KeyPath, blame: Blame) -> None:
    if section.ttl is not None:
        if not has_clock(job):
            blame.refuse(
                (*path, "ttl"),
                "is a span of event time, and events have no time; add event_time: {column: ...}, "
                "or event_time: {records_per_s: 1000} to count records, or leave ttl out",
            )
        if section.ttl < 1:
            blame.refuse((*path, "ttl"), "is below a second; set it to 1s or more, or leave it out")
    admission = section.admission
    if admission is not None and (admission.after is None) == (admission.probability is None):
        blame.refuse(
            (*path, "admission"), "give either after: N or probability: P, or leave admission out"
        )


def _slot_policy(section: FidFeatureSection, slot: int) -> SlotPolicy:
    return SlotPolicy(
        slot,
        None if section.ttl is None else math.ceil(section.ttl),
        _admission(section.admission),
        section.learning_rate,
    )


def _admission(section: Admission | None) -> AdmissionPolicy:
    if section is None:
        return AdmitAll()
    if section.after is not None:
        return AdmitAfter(section.after)
    if section.probability is not None:
        return AdmitWithProbability(section.probability)
    return AdmitAll()


def _fingerprint(
    job: Job, features: FeatureSpec, tables: Sequence[TableSpec], dense: Sequence[DenseSpec]
) -> str:
    """Eight hex digits of all that decides what a row or a dense variable means.

    How fast it moves, who gets a row and how long it lives may change from run to run, and so may
    the number of shards and the room they have.
    """
    described = {
        "features": features.fingerprint(),
        "model": job.settings.model.model_dump(mode="json"),
        "tables": {
            table.name: [table.width, table.optimizer.name, repr(table.initializer)]
            for table in tables
        },
        "dense": {
            variable.name: [variable.shape, variable.optimizer.name, variable.init_scale]
            for variable in dense
        },
        "seed": job.settings.train.seed,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
