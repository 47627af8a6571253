"""What may be handed to a table: shapes and types, refused before anything is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.errors import ShapeError
from ps.table.arrays import as_fids

if TYPE_CHECKING:
    from ps.arrays import F32, U32, U64
    from ps.kernels.layout import RowLayout
    from ps.messages import LogisticExamples, RowGradients
    from ps.table.spec import TableSpec


def check_gradients(spec: TableSpec, gradients: RowGradients) -> None:
    """Refuse gradients of another shape or type: ShapeError."""
    n = gradients.fids.size
    if gradients.fids.dtype != np.uint64 or gradients.fids.ndim != 1:
        raise ShapeError(f"table {spec.name!r}: fids must be uint64[n]")
    if gradients.grads.shape != (n, spec.width) or gradients.grads.dtype != np.float32:
        raise ShapeError(
            f"table {spec.name!r}: gradients for {n} fids must be float32[{n}, {spec.width}], not "
            f"{gradients.grads.dtype}{list(gradients.grads.shape)}"
        )
    if gradients.counts.shape != (n,) or gradients.counts.dtype != np.uint32:
        raise ShapeError(f"table {spec.name!r}: counts must be uint32[{n}]")


def check_examples(spec: TableSpec, examples: LogisticExamples) -> None:
    """Refuse examples whose arrays do not fit one another: ShapeError."""
    fids, offsets, labels = as_fids(examples.fids), examples.offsets, examples.labels
    name = spec.name
    if offsets.shape != (labels.size + 1,) or offsets.dtype != np.int64:
        raise ShapeError(f"table {name!r}: offsets of examples must be int64[labels + 1]")
    if offsets[0] != 0 or offsets[-1] != fids.size or (np.diff(offsets) < 0).any():
        raise ShapeError(
            f"table {name!r}: offsets of examples must rise from 0 to the {fids.size} fids"
        )
    if labels.ndim != 1 or labels.dtype != np.float32:
        raise ShapeError(f"table {name!r}: labels must be float32[n]")
    values = examples.values
    if values is not None and (values.shape != fids.shape or values.dtype != np.float32):
        raise ShapeError(f"table {name!r}: values must be float32[{fids.size}]")
    if examples.inputs.shape[:1] != labels.shape or examples.inputs.dtype != np.float32:
        raise ShapeError(f"table {name!r}: inputs must be float32[{labels.size}, k]")


def check_rows(
    name: str, layout: RowLayout, fids: U64, weights: F32, state: F32, last_seen_s: U32
) -> None:
    """Refuse whole rows that do not fit a table of this layout: ShapeError."""
    n = as_fids(fids).size
    for what, array, width in (
        ("weights", weights, layout.width),
        ("state", state, layout.state_width),
    ):
        if array.shape != (n, width) or array.dtype != np.float32:
            raise ShapeError(
                f"table {name!r}: {what} of {n} rows must be float32[{n}, {width}], not "
                f"{array.dtype}{list(array.shape)}; was its width or optimizer changed?"
            )
    if last_seen_s.shape != (n,) or last_seen_s.dtype != np.uint32:
        raise ShapeError(f"table {name!r}: last_seen_s must be uint32[{n}]")
