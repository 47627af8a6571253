"""Laws that hold for every file format, and what each does with bad input."""

from __future__ import annotations

import gzip
import itertools
import json
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worker.streams import consistent
from worker.errors import SourceError, SourceSpecError
from worker.sources.columnar import ArrowSource, ParquetSource
from worker.sources.delimited import DelimitedSource
from worker.sources.delimited_format import DelimitedFormat
from worker.sources.jsonl import JsonLinesSource
from worker.sources.ordered import OrderedSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.events import EventChunk, Rejected, Source

    Row = dict[str, Any]

    Opener = Callable[[str, int], Source]

FORMATS: dict[str, Opener] = {
    "csv": lambda path, n: DelimitedSource(path, chunk_rows=n),
    "csv.gz": lambda path, n: DelimitedSource(path, chunk_rows=n),
    "csv.zst": lambda path, n: DelimitedSource(path, chunk_rows=n),
    "dat": lambda path, n: DelimitedSource(
        path, DelimitedFormat("::", columns=["a", "b"], header=False, quote=None), chunk_rows=n
    ),
    "multiline.csv": lambda path, n: DelimitedSource(
        path, DelimitedFormat(newlines_in_values=True), chunk_rows=n
    ),
    "jsonl": lambda path, n: JsonLinesSource(path, chunk_rows=n),
    "jsonl.gz": lambda path, n: JsonLinesSource(path, chunk_rows=n),
    "parquet": lambda path, n: ParquetSource(path, chunk_rows=n),
    "arrow": lambda path, n: ArrowSource(path, chunk_rows=n),
    "ordered.csv": lambda path, n: OrderedSource(
        DelimitedSource(path, chunk_rows=3), "a", chunk_rows=n
    ),
}


def compressed(path: Path, data: bytes) -> bytes:
    if path.suffix == ".gz":
        return gzip.compress(data)
    if path.suffix == ".zst":
        return bytes(pa.compress(data, codec="zstd", asbytes=True))
    return data


def write(path: Path, n: int) -> None:
    """n records; in the text formats every fifth is malformed and blank lines lie about."""
    name = path.name
    lines: list[str] = []
    if "jsonl" in name:
        for i in range(n):
            lines += ["not json" if i % 5 == 4 else json.dumps({"a": i, "b": f"x{i}"})]
            lines += [""] if i % 7 == 0 else []
    elif "csv" in name or "dat" in name:
        mark = "::" if "dat" in name else ","
        lines = [] if "dat" in name else ["a,b"]
        for i in range(n):
            value = f'"x\n{i}"' if "multiline" in name else f"x{i}"
            lines += ["bad" if i % 5 == 4 else f"{i * 7 % 10}{mark}{value}"]
            lines += [""] if i % 7 == 0 else []
    else:
        table = pa.table({"a": list(range(n)), "b": [f"x{i}" for i in range(n)]})
        if "parquet" in name:
            pq.write_table(table, path, row_group_size=4)
        else:
            feather.write_feather(table, str(path), compression="uncompressed", chunksize=4)
        return
    path.write_bytes(compressed(path, "".join(f"{line}\n" for line in lines).encode()))


def read(source: Source, begin: int = 0) -> list[EventChunk]:
    (partition,) = source.partitions()
    chunks = list(source.read(partition, begin))
    for chunk in chunks:
        consistent(chunk)
    assert all(a.span.end == b.span.begin for a, b in itertools.pairwise(chunks))
    return chunks


def flat(chunks: list[EventChunk]) -> tuple[list[tuple[int, Row]], list[Rejected]]:
    rows: list[tuple[int, Row]] = [
        (offset, row)
        for chunk in chunks
        for offset, row in zip(chunk.offsets.tolist(), chunk.columns.to_pylist(), strict=True)
    ]
    return rows, [rejected for chunk in chunks for rejected in chunk.rejected]


def ending_in(path: Path, error: str) -> Callable[[Source], list[EventChunk]]:
    def run(source: Source) -> list[EventChunk]:
        chunks: list[EventChunk] = []
        with pytest.raises(SourceError, match=error):
            chunks.extend(source.read(path.name, 0))
        for chunk in chunks:
            consistent(chunk)
        return chunks

    return run


@pytest.mark.parametrize("name", FORMATS)
@given(n=st.integers(1, 40), begin=st.integers(0, 40), chunk_rows=st.integers(1, 12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_from_an_offset_is_the_tail_of_reading_everything(
    name: str, tmp_path: Path, n: int, begin: int, chunk_rows: int
) -> None:
    path = tmp_path / f"{n}.{name}"
    write(path, n)
    rows, rejected = flat(read(FORMATS[name](str(path), 100)))
    begin = min(begin, n)
    chunks = read(FORMATS[name](str(path), chunk_rows), begin)
    assert flat(chunks) == (
        [row for row in rows if row[0] >= begin],
        [r for r in rejected if r.offset >= begin],
    )
    if chunks:
        assert chunks[0].span.begin == begin
        assert chunks[-1].span.end == n
        assert all(chunk.span.end - chunk.span.begin <= chunk_rows for chunk in chunks)


@pytest.mark.parametrize("name", FORMATS)
def test_a_position_beyond_the_end_is_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{name}"
    write(path, 10)
    with pytest.raises(SourceError, match="only 10 records"):
        read(FORMATS[name](str(path), 4), 11)


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_file_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        FORMATS[name](str(tmp_path / f"x.{name}"), 4)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_file_is_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{name}"
    path.write_bytes(compressed(path, b""))
    with pytest.raises(SourceError, match=r"empty|no records|not a whole file"):
        read(FORMATS[name](str(path), 4))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_records_is_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{name}"
    write(path, 0)
    with pytest.raises(SourceError, match=r"holds no records|is empty"):
        read(FORMATS[name](str(path), 4))


@pytest.mark.parametrize("name", ["csv.gz", "csv.zst", "jsonl.gz"])
def test_what_lies_before_a_truncation_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{name}"
    numbers = [i * 2_654_435_761 % 2**32 for i in range(60_000)]
    lines = [json.dumps({"a": x}) if "jsonl" in name else f"{x}" for x in numbers]
    head = [] if "jsonl" in name else ["a"]
    whole = compressed(path, "\n".join([*head, *lines, ""]).encode())
    path.write_bytes(whole[: len(whole) // 2])
    chunks = ending_in(path, "truncated or damaged from here on")(FORMATS[name](str(path), 1_000))
    found = [int(str(a)) for chunk in chunks for a in chunk.columns["a"].to_pylist()]
    assert len(found) > 10_000
    assert found == numbers[: len(found)]


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_a_truncated_columnar_file_is_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{name}"
    write(path, 1_000)
    path.write_bytes(path.read_bytes()[:-100])
    assert ending_in(path, "not a whole file")(FORMATS[name](str(path), 100)) == []


def test_a_file_that_is_not_compressed_as_named_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_text("a,b\n1,2\n")
    assert ending_in(path, "damaged")(DelimitedSource(str(path))) == []


def csv_of(tmp_path: Path, data: bytes, file_format: DelimitedFormat | None = None) -> Source:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    return DelimitedSource(str(path), file_format, chunk_rows=100)


def verdicts(source: Source) -> tuple[list[list[str]], list[tuple[int, str]]]:
    rows = [list(row.values()) for c in read(source) for row in c.columns.to_pylist()]
    return rows, [(r.offset, r.reason) for c in read(source) for r in c.rejected]


def test_every_kind_of_bad_csv_record_is_named_and_the_others_kept(tmp_path: Path) -> None:
    data = (
        b"\xef\xbb\xbfa,b\r\n"  # a byte order mark
        b"1,one\r\n"
        b"2\r\n"
        b"\r\n"  # no record
        b"3,three,3\r\n"
        b"\xff,four\r\n"
        b"5,fi\0ve\r\n"
        b'6,"si""x"\r\n'
        b'7,x"y,"z\r\n'
        b'8,"eight\r\n'
        b"9,ni\rne\r\n"
        b",\r\n"
        b"11,eleven"  # no line end
    )
    rows, rejected = verdicts(csv_of(tmp_path, data))
    assert rows == [["1", "one"], ["6", 'si"x'], ["", ""], ["11", "eleven"]]
    assert rejected == [
        (1, "1 fields where 2 are expected"),
        (2, "3 fields where 2 are expected"),
        (3, "not utf-8 text"),
        (4, "NUL byte"),
        (6, "unclosed quote or stray carriage return"),
        (7, "unclosed quote or stray carriage return"),
        (8, "unclosed quote or stray carriage return"),
    ]


@given(st.lists(st.text(st.sampled_from('ab,"\r\n\0é'), max_size=8), max_size=12))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bad_line_never_touches_its_neighbours(tmp_path: Path, lines: list[str]) -> None:
    """Each line is judged in a file as it is judged alone."""
    clean = [line.replace("\n", "") for line in lines]
    records = [line for line in clean if line not in {"", "\r"}]
    (tmp_path / "x.csv").write_bytes("\n".join([*clean, "good,good", ""]).encode())
    file_format = DelimitedFormat(columns=["a", "b"], header=False)
    rows, rejected = flat(read(DelimitedSource(str(tmp_path / "x.csv"), file_format)))
    assert rows[-1][1] == {"a": "good", "b": "good"}
    assert len(rows) + len(rejected) == len(records) + 1
    for i, record in enumerate(records):
        (tmp_path / "one.csv").write_bytes(f"{record}\n".encode())
        alone, _ = flat(read(DelimitedSource(str(tmp_path / "one.csv"), file_format)))
        here = [row for offset, row in rows if offset == i]
        assert here == [row for _, row in alone]


def test_a_quote_that_is_never_closed_costs_its_line_only(tmp_path: Path) -> None:
    data = b'a,b\n1,"x\ny"\n2,"z\n3,w\n4,v\n'
    rows, rejected = verdicts(csv_of(tmp_path, data, DelimitedFormat(newlines_in_values=True)))
    assert rows == [["1", "x\ny"], ["3", "w"], ["4", "v"]]
    assert rejected == [(1, "quote that is never closed")]


@pytest.mark.parametrize("newlines_in_values", [False, True])
def test_huge_lines_are_rejected_without_being_held(
    tmp_path: Path, newlines_in_values: bool
) -> None:
    huge = b"x" * 3_000_000
    data = (
        b"a,b\n1,2\n" + huge + b",1\n3,4\n" + huge + b"\n5,6\n" + b"y" * 300 + b",1\n7,8\n" + huge
    )
    file_format = DelimitedFormat(max_record_bytes=200, newlines_in_values=newlines_in_values)
    rows, rejected = verdicts(csv_of(tmp_path, data, file_format))
    assert rows == [["1", "2"], ["3", "4"], ["5", "6"], ["7", "8"]]
    assert rejected == [(i, "longer than 200 bytes") for i in (1, 3, 5, 7)]
    assert all(
        len(r.record) <= 1_000
        for c in read(csv_of(tmp_path, data, file_format))
        for r in c.rejected
    )


def test_missing_columns_are_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match="no column c; it has a, b"):
        read(DelimitedSource(str(tmp_path / "x.csv"), select=["a", "c"]))
    (chunk,) = read(DelimitedSource(str(tmp_path / "x.csv"), select=["b"]))
    assert chunk.columns.to_pydict() == {"b": ["2"]}


def test_a_header_that_names_a_column_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="names a column twice: 1"):
        read(csv_of(tmp_path, b"1,2,1\n3,4,5\n"))


def test_an_undecodable_header_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"header of .* is not utf-8"):
        read(csv_of(tmp_path, b"\xff,b\n1,2\n"))


def test_a_quoted_header_is_read_by_the_rules_of_records(tmp_path: Path) -> None:
    (chunk,) = read(csv_of(tmp_path, b'"a,1",b\n1,2\n'))
    assert chunk.columns.schema.names == ["a,1", "b"]


def test_other_encodings_are_decoded(tmp_path: Path) -> None:
    data = "a,b\né,2\n".encode("latin-1")
    rows, _ = verdicts(csv_of(tmp_path, data, DelimitedFormat(encoding="latin-1")))
    assert rows == [["é", "2"]]


def test_an_ambiguous_separator_in_the_data_is_never_taken_for_a_delimiter(tmp_path: Path) -> None:
    file_format = DelimitedFormat("::", columns=["a", "b"], header=False, quote=None)
    rows, rejected = verdicts(csv_of(tmp_path, b"1::2\n1\x1f2\n", file_format))
    assert rows == [["1", "2"]]
    assert rejected == [(1, "unit separator in the data")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ""}, "one or more"),
        ({"delimiter": "::"}, "set quote to null"),
        ({"quote": "''"}, "one ASCII character"),
        ({"quote": None, "newlines_in_values": True}, "needs a quote"),
        ({"header": False}, "needs columns"),
        ({"encoding": "nope"}, "unknown encoding"),
        ({"encoding": "utf-16"}, "does not extend ASCII"),
    ],
)
def test_impossible_formats_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SourceSpecError, match=message):
        DelimitedFormat(**options)  # type: ignore[arg-type]


def test_a_folder_or_a_glob_is_one_partition_per_file(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.tsv", "_SUCCESS", ".hidden"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    assert DelimitedSource(str(tmp_path)).partitions() == ["a.csv", "b.csv", "c.tsv"]
    assert DelimitedSource(str(tmp_path / "*.csv")).partitions() == ["a.csv", "b.csv"]
    with pytest.raises(SourceError, match="no file matches"):
        DelimitedSource(str(tmp_path / "*.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no files"):
        DelimitedSource(str(tmp_path / "empty"))


def test_other_file_systems_are_read(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    write(tmp_path / "x.csv", 10)
    write(tmp_path / "x.parquet", 10)
    write(tmp_path / "x.arrow", 10)
    for name in ("csv", "parquet", "arrow"):
        memory.pipe(f"/formats/x.{name}", (tmp_path / f"x.{name}").read_bytes())
        source = FORMATS[name](f"memory://formats/x.{name}", 4)
        assert flat(read(source)) == flat(read(FORMATS[name](str(tmp_path / f"x.{name}"), 4)))
    with pytest.raises(SourceSpecError, match="nope"):
        DelimitedSource("nope://x")


def jsonl_of(tmp_path: Path, *lines: object, **options: object) -> Source:
    path = tmp_path / "x.jsonl"
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(texts) + b"\n")
    return JsonLinesSource(str(path), **options)  # type: ignore[arg-type]


def test_every_kind_of_bad_json_line_is_named_and_the_others_kept(tmp_path: Path) -> None:
    deep = b"[" * 100_000
    good = {"a": 1, "b": 1.5, "c": "x", "d": [1, 2], "e": True, "u": {"id": 7}}
    source = jsonl_of(
        tmp_path, good, b"{", [1], b'{"a": "\xff"}', deep, {"a": "1"}, {"a": 1.5}, {"a": True},
        {"a": 1 << 70}, {"d": ["x"]}, {"c": 1}, {"u": {"id": "7"}}, {"b": 2}, {}, {"z": 1}, good, sample_records=1,
    )  # fmt: skip
    (chunk,) = read(source)
    assert [(r.offset, r.reason) for r in chunk.rejected] == [
        (1, "not JSON"),
        (2, "not a JSON object"),
        (3, "not utf-8 text"),
        (4, "not JSON"),
        (5, "a: text where int64 is expected"),
        (6, "a: a number where int64 is expected"),
        (7, "a: a boolean where int64 is expected"),
        (8, "a: a whole number where int64 is expected"),
        (9, "d: a list where list<item: int64> is expected"),
        (10, "c: a whole number where string is expected"),
        (11, "u.id: text where int64 is expected"),
    ]
    assert chunk.columns["u.id"].to_pylist() == [7, None, None, None, 7]
    assert chunk.columns["b"].to_pylist() == [1.5, 2.0, None, None, 1.5]


def test_json_types_are_those_of_the_head_wherever_reading_begins(tmp_path: Path) -> None:
    source = jsonl_of(tmp_path, *[{"a": 1}] * 5, *[{"a": "x"}] * 9, sample_records=5, chunk_rows=3)
    chunks = read(source, 4)
    assert all(chunk.columns.schema.field("a").type == pa.int64() for chunk in chunks)
    assert sum(len(chunk.rejected) for chunk in chunks) == 9


def test_json_columns_can_be_declared(tmp_path: Path) -> None:
    source = jsonl_of(tmp_path, {"a": 1}, {"a": 2.5, "b": 3}, columns={"a": pa.float64()})
    (chunk,) = read(source)
    assert chunk.columns.to_pydict() == {"a": [1.0, 2.5]}


def test_columnar_files_keep_their_types_and_select(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", 10)
    write(tmp_path / "x.arrow", 10)
    for source in (
        ParquetSource(str(tmp_path / "x.parquet"), select=["a"]),
        ArrowSource(str(tmp_path / "x.arrow"), select=["a"]),
    ):
        assert all(chunk.columns.schema.field("a").type == pa.int64() for chunk in read(source))
        assert read(source)[0].columns.schema.names == ["a"]
    with pytest.raises(SourceError, match="no column z; it has a, b"):
        read(ArrowSource(str(tmp_path / "x.arrow"), select=["z"]))


def test_arrow_columns_outlive_the_reader(tmp_path: Path) -> None:
    write(tmp_path / "x.arrow", 10)
    chunks = list(ArrowSource(str(tmp_path / "x.arrow")).read("x.arrow", 0))
    assert [a for chunk in chunks for a in chunk.columns["a"].to_pylist()] == list(range(10))


def ordered(tmp_path: Path, text: str) -> tuple[list[str], list[tuple[int, str]]]:
    (tmp_path / "x.csv").write_text(f"t,v\n{text}")
    chunks = read(OrderedSource(DelimitedSource(str(tmp_path / "x.csv")), "t", chunk_rows=2))
    values = [str(v) for chunk in chunks for v in chunk.columns["v"].to_pylist()]
    return values, [(r.offset, r.reason) for chunk in chunks for r in chunk.rejected]


def test_ordering_is_numeric_stable_and_puts_the_rejected_last(tmp_path: Path) -> None:
    values, rejected = ordered(tmp_path, "100,a\n9,b\nx,c\n100,d\nbad\n-1,e\n,f\n")
    assert values == ["e", "b", "a", "d"]
    assert rejected == [
        (4, "t is 'x', which has no order (record 2 as stored)"),
        (5, "1 fields where 2 are expected (record 4 as stored)"),
        (6, "t is '', which has no order (record 6 as stored)"),
    ]


def test_fractions_and_iso_times_are_ordered(tmp_path: Path) -> None:
    assert ordered(tmp_path, "10.5,a\n9,b\n1e1,c\n")[0] == ["b", "c", "a"]
    assert ordered(tmp_path, "2024-10-02T00:00Z,a\n2024-09-30T00:00Z,b\n")[0] == ["b", "a"]


def test_ordering_by_a_column_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,v\n1,2\n")
    with pytest.raises(SourceError, match="no column 'z' to order by; there is t, v"):
        read(OrderedSource(DelimitedSource(str(tmp_path / "x.csv")), "z"))
