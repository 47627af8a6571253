"""A shard rebuilt from encoded blocks is the shard they came from, admission filter included."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.admission import AdmitAfter, AdmitWithProbability
from ps.codec import decode_block, encode_block
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.messages import Push, RowGradients
from ps.optimizers import AdaGrad, Adam
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import SlotPolicy, TableSpec

SPEC = ShardSpec(
    model="m",
    tables=(
        TableSpec(
            "items",
            4,
            Adam(),
            Initializer("uniform", 0.1),
            slots=(
                SlotPolicy(1, admission=AdmitAfter(2)),
                SlotPolicy(2, admission=AdmitWithProbability(0.5), ttl_s=3),
            ),
            capacity_rows=2_000,
            remembered_fids=256,
        ),
    ),
    dense=(DenseSpec("w", (3, 2), AdaGrad(), init_scale=0.3), DenseSpec("b", (), AdaGrad())),
)


def make_push(rng: np.random.Generator, step: int) -> Push:
    fids = np.unique(rng.integers(0, 60, 40).astype(np.uint64)) | np.uint64(1 << 48)
    fids = np.where(fids % np.uint64(2) == 0, fids ^ np.uint64(3 << 48), fids)
    grads = rng.standard_normal((len(fids), 4), dtype=np.float32)
    return Push(
        Span("p", step, step + 1),
        event_ts_us=step * 1_000_000,
        rows={"items": RowGradients(fids, grads, np.ones(len(fids), np.uint32))},
        dense={"w": rng.standard_normal((3, 2), dtype=np.float32)},
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
)
@settings(max_examples=20, deadline=None)
def test_base_and_blocks_through_bytes_rebuild_the_shard(
    seed: int, before: int, after: int
) -> None:
    rng = np.random.default_rng(seed)
    shard, rebuilt = Shard(SPEC), Shard(SPEC)
    for step in range(before):
        shard.push(make_push(rng, step))
    shard.seal(sealed_us=0)
    base = shard.export(sealed_us=0)
    assert rebuilt.apply(decode_block(encode_block(base)))
    assert rebuilt.digest() == shard.digest()
    for step in range(before, before + after):
        shard.push(make_push(rng, step))
        assert rebuilt.apply(decode_block(encode_block(shard.seal(sealed_us=step))))
        left, right = shard.export(sealed_us=0), rebuilt.export(sealed_us=0)
        assert left.tables["items"].fids.size == right.tables["items"].fids.size
        assert left.positions == right.positions
        for name, variable in left.dense.items():
            assert variable.weights.tobytes() == right.dense[name].weights.tobytes()
