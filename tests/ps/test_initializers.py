"""Initial weights: their moments, and that nothing but (seed, fid, column) matters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.errors import SpecError
from ps.initializers import Initializer
from ps.kernels.initialize import init_weights
from ps.kernels.jit import kernel

if TYPE_CHECKING:
    from ps.arrays import F32, U64


@kernel
def fill_rows(
    kind: np.int64,
    words: np.ndarray,
    fids: np.ndarray,
    width: np.int64,
    leading_zeros: np.int64,
    scale: np.float32,
    seed: np.uint64,
) -> None:
    for i in range(fids.shape[0]):
        init_weights(kind, words, np.int64(i) * width, width, leading_zeros, scale, seed, fids[i])


def rows(
    initializer: Initializer, fids: U64 | range, width: int, seed: int = 1, offset: int = 0
) -> F32:
    wanted = np.asarray(fids, dtype=np.uint64)
    words = np.full(offset + len(wanted) * width, np.nan, np.float32)
    fill_rows(
        np.int64(initializer.code),
        words[offset:],
        wanted,
        np.int64(width),
        np.int64(initializer.leading_zeros),
        np.float32(initializer.scale),
        np.uint64(seed),
    )
    return words[offset:].reshape(len(wanted), width)


UNIFORM = Initializer("uniform", 1.0)
NORMAL = Initializer("normal", 1.0)


def python_mix64(value: int) -> int:
    """The finalizer of MurmurHash3, in plain Python."""
    for multiply in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value ^= value >> 33
        value = value * multiply % 2**64
    return value ^ value >> 33


def python_weight(kind: str, seed: int, fid: int, column: int) -> float:
    """The documented scheme, in plain Python."""
    golden = 0x9E3779B97F4A7C15
    stream = python_mix64(python_mix64((seed + golden) % 2**64) ^ fid)

    def draw(counter: int) -> int:
        return python_mix64((stream + (counter + 1) * golden) % 2**64)

    if kind == "uniform":
        return (2 * (draw(column) >> 40) + 1 - 2**24) / 2**24
    parts = [draw(3 * column + i) >> shift & 0xFFFF for i in range(3) for shift in (0, 16, 32, 48)]
    return (sum(parts) - 6 * 65535) / 2**16


@pytest.mark.parametrize("initializer", [UNIFORM, NORMAL], ids=lambda i: i.kind)
def test_the_kernel_equals_plain_python(initializer: Initializer) -> None:
    fids = [0, 1, 2**48 + 7, 2**64 - 1]
    for seed in (0, 1, 2**64 - 1):
        found = rows(initializer, np.array(fids, np.uint64), 5, seed)
        expected = [
            [python_weight(initializer.kind, seed, fid, column) for column in range(5)]
            for fid in fids
        ]
        assert found.tolist() == expected


@pytest.mark.parametrize(
    ("initializer", "variance", "kurtosis", "largest"),
    [(UNIFORM, 1 / 3, 1.8, 1.0), (NORMAL, 1.0, 2.9, 6.0)],
    ids=["uniform", "normal"],
)
def test_moments(
    initializer: Initializer, variance: float, kurtosis: float, largest: float
) -> None:
    numbers = rows(initializer, range(40_000), 16).astype(np.float64)
    n = numbers.size
    for sample in (numbers, numbers[:, 0], numbers[:100]):
        error = 5 / math.sqrt(sample.size)
        assert abs(sample.mean()) < error
        assert abs(sample.var() - variance) < 2 * error
    assert abs((numbers**4).mean() / numbers.var() ** 2 - kurtosis) < 25 / math.sqrt(n)
    assert abs((numbers**3).mean()) < 20 / math.sqrt(n)
    assert np.abs(numbers).max() < largest


@pytest.mark.parametrize("initializer", [UNIFORM, NORMAL], ids=lambda i: i.kind)
def test_columns_rows_and_seeds_are_not_correlated(initializer: Initializer) -> None:
    numbers = rows(initializer, range(20_000), 8)
    other = rows(initializer, range(20_000), 8, seed=2)
    for left, right in (
        (numbers[:, 0], numbers[:, 1]),
        (numbers[:-1, 0], numbers[1:, 0]),
        (numbers[:-1, 1], numbers[1:, 0]),
        (numbers[:, 3], other[:, 3]),
    ):
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / math.sqrt(20_000)
    assert len(np.unique(numbers[:, 0])) > (19_900 if initializer is UNIFORM else 15_000)


@pytest.mark.parametrize("initializer", [UNIFORM, NORMAL], ids=lambda i: i.kind)
def test_a_row_is_the_same_wherever_it_is_written(initializer: Initializer) -> None:
    together = rows(initializer, range(100), 17)
    for fid in range(100):
        alone = rows(initializer, range(fid, fid + 1), 17, offset=fid % 7)
        assert alone.tobytes() == together[fid].tobytes()


def test_a_wider_row_begins_like_a_narrow_one() -> None:
    assert np.array_equal(rows(NORMAL, range(10), 16)[:, :4], rows(NORMAL, range(10), 4))


def test_the_scale_only_scales() -> None:
    assert np.array_equal(
        rows(Initializer("normal", 0.25), range(10), 8), 0.25 * rows(NORMAL, range(10), 8)
    )


def test_leading_zeros_do_not_shift_the_rest() -> None:
    with_zeros = rows(Initializer("uniform", 1.0, leading_zeros=2), range(10), 8)
    assert not with_zeros[:, :2].any()
    assert np.array_equal(with_zeros[:, 2:], rows(UNIFORM, range(10), 8)[:, 2:])
    assert not rows(Initializer("uniform", 1.0, leading_zeros=9), range(10), 8).any()


def test_zeros_are_zeros() -> None:
    assert rows(Initializer(), range(10), 8).tobytes() == bytes(320)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "gaussian"}, "one of zeros, uniform, normal"),
        ({"kind": "uniform", "scale": 0.0}, "give it a scale"),
        ({"kind": "uniform", "scale": -1.0}, "scale"),
        ({"kind": "normal", "scale": math.nan}, "scale"),
        ({"kind": "normal", "scale": 1.0, "leading_zeros": -1}, "leading_zeros"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Initializer(**settings)  # type: ignore[arg-type]
