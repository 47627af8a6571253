"""From a table's spec to the arrays its kernels read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.kernels.policy import NEVER_S, SlotPolicies

if TYPE_CHECKING:
    from ps.admission import AdmissionFilter
    from ps.table.spec import TableSpec


def slot_policies(spec: TableSpec, seed: int, admission: AdmissionFilter) -> SlotPolicies:
    """The arrays of all the table's settings; slots that are not listed follow the table's own."""
    slot_policy = np.zeros(1 << 16, dtype=np.uint8)
    known: dict[tuple[int | None, float | None], int] = {(None, None): 0}
    for policy in spec.slots:
        key = (policy.ttl_s, policy.learning_rate)
        slot_policy[policy.slot] = known.setdefault(key, len(known))
    hypers = [
        (spec.optimizer if rate is None else spec.optimizer.with_learning_rate(rate)).hyper()
        for _, rate in known
    ]
    return SlotPolicies(
        slot_policy,
        np.array([NEVER_S if ttl_s is None else ttl_s for ttl_s, _ in known], dtype=np.int64),
        int(spec.expires),
        np.concatenate(hypers),
        spec.optimizer.kind,
        spec.initializer.code,
        spec.initializer.leading_zeros,
        np.float32(spec.initializer.scale),
        np.uint64(seed & 0xFFFF_FFFF_FFFF_FFFF),
        *admission.arrays,
    )
