"""Parquet files decoded by cores of the whole cluster, through Ray Data, for one worker to learn from.

The chunks are those of worker.sources.columnar.ParquetSource, whatever decodes them: partitions are
files, positions are row numbers, and pieces of a file come in its order.
"""

from __future__ import annotations

import importlib.util
import logging
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from worker.errors import SourceError, SourceSpecError
from worker.sources.columnar import ColumnarSource, check_contents
from worker.sources.delimited import DEFAULT_CHUNK_ROWS
from worker.sources.files import READ_ERRORS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from worker.sources.files import DataFile

# What pyarrow cuts a row group into when it is read batch by batch; the plain reader's pieces.
_BATCH_ROWS = 65_536
# A task costs some 10 ms beside its work, so small row groups are decoded several at a time.
_TASK_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group: its number in the file, the ordinal of its first row, how many, bytes decoded."""

    number: int
    first: int
    rows: int
    size_bytes: int


class RayDataParquetSource(ColumnarSource):
    """A Source over Parquet files whose row groups other processes decode ahead, in order.

    path: file, folder or glob that every node reaches. select: the columns to hand over; None means
    all. Raises SourceSpecError where Ray Data is not installed; read raises SourceError where Ray is not
    connected.
    """

    def __init__(
        self,
        path: str,
        *,
        select: Sequence[str] | None = None,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
    ) -> None:
        if importlib.util.find_spec("pandas") is None:
            raise SourceSpecError(
                "read_with: ray_data needs Ray Data on every machine: pip install 'trilith[data]'; "
                "or leave read_with out"
            )
        super().__init__(path, _pieces, select, chunk_rows)


def _pieces(
    file: DataFile, select: list[str] | None, begin: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    import ray

    if not ray.is_initialized():
        raise SourceError(
            file.partition,
            begin,
            "read_with: ray_data decodes on the nodes of a cluster, and this run is on none; give "
            "--cluster, or leave read_with out",
        )
    groups = _groups_from(file, select, begin)
    with closing(_tables(file, select, groups)) as tables:
        try:
            yield from _recut(tables, groups)
        except ray.exceptions.RayError as error:
            raise _as_source_error(file, begin, error) from error


def _groups_from(file: DataFile, select: list[str] | None, begin: int) -> list[_Group]:
    """The row groups with records at begin or after it."""
    with file.open() as raw:
        stored = pq.ParquetFile(raw)
        meta = stored.metadata
        check_contents(file, meta.num_rows, begin, stored.schema_arrow.names, select)
        found, first = [], 0
        for number in range(stored.num_row_groups):
            group = meta.row_group(number)
            if first + group.num_rows > begin:
                found.append(_Group(number, first, group.num_rows, group.total_byte_size))
            first += group.num_rows
        return found


def _tables(
    file: DataFile, select: list[str] | None, groups: list[_Group]
) -> Generator[pa.Table, None, None]:
    """The rows of the groups, in order, in tables of whatever size Ray Data makes them."""
    if not groups:
        return
    import ray.data

    # The story of each execution is not for the log of a training run.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    shares = _shares(groups)
    with ray.data.DataContext.current(context):
        decoded = ray.data.from_items(
            [{"groups": share} for share in shares], override_num_blocks=len(shares)
        ).map_batches(
            partial(_decode, file=file, select=select), batch_size=1, batch_format="pyarrow"
        )
        batches = iter(decoded.iter_batches(batch_size=None, batch_format="pyarrow"))
    yield from batches


def _shares(groups: list[_Group]) -> list[list[int]]:
    """Numbers of groups for one task each, of _TASK_BYTES where the groups are small."""
    shares: list[list[int]] = [[]]
    size = 0
    for group in groups:
        if shares[-1] and size + group.size_bytes > _TASK_BYTES:
            shares.append([])
            size = 0
        shares[-1].append(group.number)
        size += group.size_bytes
    return shares


def _decode(wanted: pa.Table, *, file: DataFile, select: list[str] | None) -> Iterator[pa.Table]:
    """Runs in a task, on any node."""
    [row_groups] = wanted.column("groups").to_pylist()
    with file.open() as raw:
        stored = pq.ParquetFile(raw)
        for batch in stored.iter_batches(_BATCH_ROWS, row_groups=row_groups, columns=select):
            yield pa.Table.from_batches([batch])


def _recut(
    tables: Iterator[pa.Table], groups: list[_Group]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The same rows, cut where the plain reader cuts: at row groups, and each _BATCH_ROWS of one."""
    held: list[pa.Table] = []
    n_held = 0
    for group in groups:
        for start in range(0, group.rows, _BATCH_ROWS):
            wanted = min(_BATCH_ROWS, group.rows - start)
            while n_held < wanted:
                held.append(next(tables))
                n_held += held[-1].num_rows
            whole = pa.concat_tables(held)
            done = group.first + start
            for batch in whole.slice(0, wanted).combine_chunks().to_batches():
                yield done, batch
                done += batch.num_rows
            held, n_held = [whole.slice(wanted)], n_held - wanted


def _as_source_error(file: DataFile, begin: int, error: Any) -> Exception:
    """What a failed task means: a bad file, or a cluster that cannot read it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, READ_ERRORS):
            return OSError(str(cause))
        cause = getattr(cause, "cause", None) or cause.__cause__
    return SourceError(
        file.partition,
        begin,
        f"the cluster could not decode {file.path}: {error}. Look at its nodes with `ray status`, or "
        "leave read_with out",
    )
