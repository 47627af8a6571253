"""Every built-in model written plainly in float64, to check the fast ones and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.batch import Batch, FidColumn, Inputs
from model.lookup import build_lookups

if TYPE_CHECKING:
    from model.features import FeatureLayout
    from model.model import Model
    from ps.arrays import F64

Options = Mapping[str, Any]
Params = dict[str, "npt.NDArray[np.float64]"]


def example_batch(rng: np.random.Generator, layout: FeatureLayout, size: int) -> Batch:
    """Random fids with many repeats; multi-valued fields of 0 to 3 values; random dense inputs."""
    columns = {}
    for fid_field in layout.fields:
        offsets = None
        count = size
        if fid_field.pooling is not None:
            offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, size))]).astype(np.int64)
            count = int(offsets[-1])
        fids = rng.integers(0, 5, count).astype(np.uint64) | np.uint64(fid_field.slot << 48)
        columns[fid_field.name] = FidColumn(fids, offsets)
    dense = rng.normal(size=(size, layout.dense_width)).astype(np.float32)
    return Batch(size, columns, dense, np.zeros(size, np.int64))


def random_inputs(
    rng: np.random.Generator, model: Model, layout: FeatureLayout, batch: Batch
) -> Inputs:
    """Parameters drawn large enough that every term of the model matters."""
    lookups = build_lookups(layout.tables, batch)
    rows = {
        table: rng.normal(scale=0.5, size=(len(lookup.fids), model.row_width)).astype(np.float32)
        for table, lookup in lookups.items()
    }
    dense = {
        name: rng.normal(scale=shape.init_scale or 0.3, size=shape.shape).astype(np.float32)
        for name, shape in model.dense_shapes().items()
    }
    return Inputs(batch, lookups, rows, dense)


@dataclass
class Reference:
    """A model's logits as a function of float64 parameters, named "rows/t" and "dense/v"."""

    kind: str
    layout: FeatureLayout
    inputs: Inputs
    options: Options = field(default_factory=dict)

    def parameters(self) -> Params:
        """The inputs' own parameters, in float64."""
        rows = {f"rows/{t}": v.astype(np.float64) for t, v in self.inputs.rows.items()}
        dense = {f"dense/{n}": v.astype(np.float64) for n, v in self.inputs.dense.items()}
        return {**rows, **dense}

    def logits(self, p: Params) -> F64:
        """float64[size]."""
        numbers = self.inputs.batch.dense.astype(np.float64)
        logits: F64 = p["dense/linear"][0] + numbers @ p["dense/linear"][1:]
        pooled = np.stack([self._pooled(p, f) for f in range(len(self.layout.fields))], axis=1)
        if self.kind == "dcn":
            x0 = np.concatenate([pooled.reshape(len(numbers), -1), numbers], axis=1)
            return logits + self._dcn(p, x0)
        logits = logits + pooled[:, :, 0].sum(axis=1)
        vectors = pooled[:, :, 1:]
        if self.kind in {"fm", "deepfm"}:
            for f in range(vectors.shape[1]):
                for g in range(f):
                    logits = logits + (vectors[:, f] * vectors[:, g]).sum(axis=1)
        if self.kind == "deepfm":
            x0 = np.concatenate([vectors.reshape(len(numbers), -1), numbers], axis=1)
            logits = logits + _mlp(p, x0) @ p["dense/mlp.out.weight"]
        return logits

    def _pooled(self, p: Params, f: int) -> F64:
        fid_field = self.layout.fields[f]
        table = p[f"rows/{fid_field.table}"]
        rows = table[self.inputs.lookups[fid_field.table].inverse[fid_field.name]]
        offsets = self.inputs.batch.columns[fid_field.name].offsets
        if offsets is None:
            return rows
        out = np.zeros((self.inputs.batch.size, table.shape[1]))
        for i in range(len(out)):
            values = rows[offsets[i] : offsets[i + 1]]
            if len(values):
                out[i] = values.mean(axis=0) if fid_field.pooling == "mean" else values.sum(axis=0)
        return out

    def _dcn(self, p: Params, x0: F64) -> F64:
        x = x0
        for i in range(self.options["cross_layers"]):
            if self.options.get("rank") is None:
                matrix = p[f"dense/cross.{i}.weight"]
            else:
                matrix = p[f"dense/cross.{i}.v"] @ p[f"dense/cross.{i}.u"]
            x = x0 * (x @ matrix + p[f"dense/cross.{i}.bias"]) + x
        if self.options.get("structure") == "stacked":
            return _mlp(p, x) @ p["dense/mlp.out.weight"]
        return x @ p["dense/cross.out.weight"] + _mlp(p, x0) @ p["dense/mlp.out.weight"]


def _mlp(p: Params, x: F64) -> F64:
    i = 0
    while f"dense/mlp.{i}.weight" in p:
        x = np.maximum(x @ p[f"dense/mlp.{i}.weight"] + p[f"dense/mlp.{i}.bias"], 0.0)
        i += 1
    return x
