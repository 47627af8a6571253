"""Parquet through Ray Data: the chunks of the plain reader, whoever decodes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.fleet import ray_data
from cluster.fleet.ray_data import RayDataParquetSource
from cluster.job import parse_job, resolve
from tests.cluster.jobs import job_text
from worker.errors import SourceError, SourceSpecError
from worker.sources.columnar import ParquetSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.events import Source

# By file: rows, and rows of a group. Groups below, at and above what the reader cuts them into.
FILES = {"a.parquet": (1_000, 100), "b.parquet": (150_000, 70_000), "c.parquet": (1, 10)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("parquet")
    rng = np.random.default_rng(3)
    for name, (rows, group_rows) in FILES.items():
        numbers = rng.integers(0, 50, rows)
        table = pa.table(
            {
                "ts": np.arange(rows),
                "user": pa.array([f"u{number}" if number else None for number in numbers]),
                "tags": pa.array([list(range(number % 4)) for number in numbers]),
                "price": rng.random(rows),
            }
        )
        pq.write_table(table, found / name, row_group_size=group_rows)
    return found


@pytest.fixture(scope="module")
def _connected() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # The workers of Ray import the modules under test as they are here.
        patch.setenv(
            "PYTHONPATH",
            str(Path(__file__).parents[3]) + os.pathsep + os.environ.get("PYTHONPATH", ""),
        )
        import ray

        ray.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=128 << 20
        )
        try:
            yield
        finally:
            ray.shutdown()


def chunks(source: Source, partition: str, begin: int) -> list[tuple[int, int, dict[str, Any]]]:
    found = []
    for chunk in source.read(partition, begin):
        assert chunk.offsets.tolist() == list(range(chunk.span.begin, chunk.span.end))
        found.append((chunk.span.begin, chunk.span.end, chunk.columns.to_pydict()))
    return found


@pytest.mark.usefixtures("_connected")
@pytest.mark.parametrize(
    ("partition", "begin"),
    [
        ("a.parquet", 0),
        ("a.parquet", 99),
        ("a.parquet", 100),
        ("a.parquet", 1_000),
        ("b.parquet", 0),
        ("b.parquet", 65_536),
        ("b.parquet", 139_999),
        ("c.parquet", 0),
    ],
)
def test_chunks_are_those_of_the_plain_reader_from_anywhere(
    folder: Path, partition: str, begin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_data, "_TASK_BYTES", 1 << 14)
    for select in (None, ["ts", "tags"]):
        plain = ParquetSource(str(folder), select=select)
        source = RayDataParquetSource(str(folder), select=select)
        assert source.partitions() == plain.partitions()
        assert chunks(source, partition, begin) == chunks(plain, partition, begin)


@pytest.mark.usefixtures("_connected")
def test_a_reader_that_stops_early_leaves_nothing_that_hinders_the_next(folder: Path) -> None:
    source = RayDataParquetSource(str(folder), chunk_rows=10)
    for _ in range(3):
        reading = source.read("b.parquet", 5)
        assert next(reading).span.begin == 5
        reading.close()  # type: ignore[attr-defined]
    assert len(chunks(source, "c.parquet", 0)) == 1


@pytest.mark.usefixtures("_connected")
def test_files_that_cannot_be_read_are_told_of_by_name(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-9])
    # The footer is whole, and a page of the last group is not.
    at = len(whole) // 2
    (tmp_path / "flipped.parquet").write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])
    source = RayDataParquetSource(str(tmp_path))
    for name in ("cut.parquet", "flipped.parquet"):
        with pytest.raises(SourceError, match=f"{name} is not a whole file of its kind"):
            list(source.read(name, 0))
    with pytest.raises(SourceError, match="holds only 1 records"):
        list(RayDataParquetSource(str(folder)).read("c.parquet", 2))
    with pytest.raises(SourceError, match="has no column nothing"):
        list(RayDataParquetSource(str(folder), select=["nothing"]).read("c.parquet", 0))


def test_off_a_cluster_it_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(SourceError, match="give --cluster, or leave read_with out"):
        next(iter(RayDataParquetSource(str(folder)).read("a.parquet", 0)))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SourceSpecError, match=r"pip install 'trilith\[data\]'"):
        RayDataParquetSource(str(folder))


def test_a_job_file_chooses_the_reader(folder: Path) -> None:
    for read_with, kind in (("pyarrow", ParquetSource), ("ray_data", RayDataParquetSource)):
        text = job_text(
            source={"format": "parquet", "path": str(folder), "read_with": read_with},
            features=[{"name": "user", "kind": "categorical"}],
            label={"column": "price"},
        )
        assert isinstance(resolve(parse_job(text, folder=folder)).source, kind)
