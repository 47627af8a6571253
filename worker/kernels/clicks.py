"""Kernels that make synthetic click logs; the model behind them is told in sources/synthetic.py."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ps.kernels.jit import inlined, kernel
from worker.kernels.draws import mixed, normal, uniform, zipf_rank

if TYPE_CHECKING:
    import numpy.typing as npt

    from ps.arrays import F32, F64, I32, I64, Bool
    from worker.kernels.draws import Whole

# Salts: one number per thing that is drawn, so that no two draws share their randomness.
_USER, _USER_FADE, _ITEM, _ITEM_FADE, _POSITION, _CLICK, _MALFORMED, _NOISE = range(8)
_EFFECT, _KIND, _EXTRA, _COUNT, _PHASE, _NUMBER, _LISTED = range(10, 17)
_SEGMENT_EFFECT, _DEVICE_EFFECT, _CATEGORY_EFFECT, _TAG_EFFECT, _PAIR_EFFECT = range(20, 25)
_USER_SLOT, _ITEM_SLOT, _FIELD = range(30, 33)

# An id is its slot plus this many times its generation: below 2^48 for 2^24 generations.
ID_STRIDE = 1 << 24
# The share of an id's life during which it gives way to its successor.
_FADE = 0.25
MAX_LISTED = 3


@inlined
def _occupant(seed: np.uint64, salt: int, slot: Whole, age: float, u: float) -> np.int64:
    """The id in a popularity slot at this time; slots change hands out of step, and gradually."""
    generation = age + uniform(mixed(mixed(seed, salt), slot))
    whole = np.int64(generation)
    faded = (generation - whole - (1.0 - _FADE)) / _FADE
    if u < faded:
        whole += 1
    return np.int64(slot + whole * ID_STRIDE)


@inlined
def _level(bits: np.uint64, n: Whole) -> np.int64:
    """One of n levels, the first the most frequent."""
    u = uniform(bits)
    return np.int64(u * u * n)


@kernel
def make_clicks(
    seed: np.uint64,
    first: int,
    stride: int,
    start_us: int,
    us_per_record: float,
    population: F64,
    effects: F64,
    levels: I64,
    malformed_share: float,
    integers: I64,
    reals: F32,
    tags: I64,
    tag_offsets: I32,
    interests: I64,
    interest_offsets: I32,
    noise: I64,
    clicks: npt.NDArray[np.int8],
    truth: F64,
    malformed: Bool,
) -> None:
    """Records first, first + stride, ...: n = len(clicks), filled in place.

    population: float64[7]: users, user exponent, user life s, items, item exponent, item life s,
    growth of both per record. effects: float64[11], in the order of ClickEffects. levels: int64[4]:
    segments, devices, categories, tags. integers: int64[7, n]: time, user, item, segment, device,
    category, position. reals: float32[2, n]: age, price. tags and interests: int64[3 n];
    *_offsets: int32[n + 1]. noise: int64[k, n]. truth: float64[n]. malformed: bool[n].
    """
    n_tags = 0
    n_interests = 0
    tag_offsets[0] = 0
    interest_offsets[0] = 0
    two_pi = 2.0 * math.pi
    for j in range(len(clicks)):
        index = first + j * stride
        event_ts_us = start_us + np.int64(index * us_per_record)
        elapsed_s = index * us_per_record * 1e-6
        key = mixed(seed, index)
        growth = 1.0 + population[6] * index

        slot = zipf_rank(uniform(mixed(key, _USER)), population[0] * growth, population[1])
        user = _occupant(
            seed, _USER_SLOT, slot, elapsed_s / population[2], uniform(mixed(key, _USER_FADE))
        )
        slot = zipf_rank(uniform(mixed(key, _ITEM)), population[3] * growth, population[4])
        item = _occupant(
            seed, _ITEM_SLOT, slot, elapsed_s / population[5], uniform(mixed(key, _ITEM_FADE))
        )
        user_key = mixed(mixed(seed, _USER_SLOT), user)
        item_key = mixed(mixed(seed, _ITEM_SLOT), item)
        segment = _level(mixed(user_key, _KIND), levels[0])
        device = _level(mixed(user_key, _EXTRA), levels[1])
        category = _level(mixed(item_key, _KIND), levels[2])
        position = _level(mixed(key, _POSITION), 5)
        age = 38.0 + 12.0 * normal(mixed(user_key, _NUMBER))
        log_price = 2.0 + 0.8 * normal(mixed(item_key, _NUMBER))

        tag_effect = 0.0
        count = 1 + np.int64(mixed(item_key, _COUNT) % np.uint64(MAX_LISTED))
        for k in range(count):
            tag = _level(mixed(item_key, _LISTED + 100 * (k + 1)), levels[3])
            tags[n_tags] = tag
            n_tags += 1
            tag_effect += normal(mixed(mixed(seed, _TAG_EFFECT), tag))
        tag_offsets[j + 1] = n_tags

        matched = 0.0
        count_interests = 1 + np.int64(mixed(user_key, _COUNT) % np.uint64(MAX_LISTED))
        for k in range(count_interests):
            interest = _level(mixed(user_key, _LISTED + 100 * (k + 1)), levels[2])
            interests[n_interests] = interest
            n_interests += 1
            if interest == category:
                matched = 1.0
        interest_offsets[j + 1] = n_interests

        hour = (event_ts_us // 3_600_000_000) % 24
        phase = uniform(mixed(item_key, _PHASE))
        pair = mixed(mixed(seed, _PAIR_EFFECT), segment * levels[2] + category)
        logit = (
            effects[0]
            + effects[1] * normal(mixed(user_key, _EFFECT))
            + effects[2] * normal(mixed(item_key, _EFFECT))
            + effects[3] * math.sin(two_pi * (elapsed_s / effects[10] + phase))
            + effects[4] * normal(mixed(mixed(seed, _SEGMENT_EFFECT), segment))
            + effects[4] * normal(mixed(mixed(seed, _DEVICE_EFFECT), device))
            + effects[4] * normal(mixed(mixed(seed, _CATEGORY_EFFECT), category))
            + effects[5] * tag_effect / count
            + effects[6] * (2.0 - position)
            + effects[7] * math.sin(two_pi * (hour - 15.0) / 24.0)
            + effects[8] * (normal(pair) + matched)
            - effects[9] * ((log_price - 2.0) + (age - 38.0) / 24.0)
        )
        probability = 1.0 / (1.0 + math.exp(-logit))

        integers[0, j] = event_ts_us
        integers[1, j] = user
        integers[2, j] = item
        integers[3, j] = segment
        integers[4, j] = device
        integers[5, j] = category
        integers[6, j] = position
        reals[0, j] = age
        reals[1, j] = math.exp(log_price)
        for k in range(len(noise)):
            noise[k, j] = np.int64(mixed(mixed(key, _NOISE), k) % np.uint64(1000))
        clicks[j] = uniform(mixed(key, _CLICK)) < probability
        truth[j] = probability
        malformed[j] = uniform(mixed(key, _MALFORMED)) < malformed_share


@kernel
def make_wide_clicks(
    seed: np.uint64,
    first: int,
    stride: int,
    cardinalities: F64,
    exponent: float,
    bias: float,
    scale: float,
    malformed_share: float,
    categories: I64,
    numbers: F32,
    clicks: npt.NDArray[np.int8],
    truth: F64,
    malformed: Bool,
) -> None:
    """Records of many fields, first, first + stride, ...: n = len(clicks), filled in place.

    cardinalities: float64[c], ids per field. categories: int64[c, n]. numbers: float32[d, n], whole
    numbers with a long tail. truth: float64[n]. malformed: bool[n]. scale: the logit's deviation.
    """
    n_categories = len(cardinalities)
    per_field = scale / math.sqrt(n_categories + len(numbers))
    for j in range(len(clicks)):
        key = mixed(seed, first + j * stride)
        logit = bias
        for f in range(n_categories):
            rank = zipf_rank(uniform(mixed(key, _FIELD + f)), cardinalities[f], exponent)
            categories[f, j] = rank
            logit += per_field * normal(mixed(mixed(seed, _FIELD + f), rank))
        for f in range(len(numbers)):
            salt = _FIELD + n_categories + f
            z = normal(mixed(key, salt))
            numbers[f, j] = math.floor(math.exp(1.0 + 1.2 * z))
            sign = 1.0 if mixed(mixed(seed, salt), 0) & np.uint64(1) else -1.0
            logit += per_field * sign * z
        probability = 1.0 / (1.0 + math.exp(-logit))
        clicks[j] = uniform(mixed(key, _CLICK)) < probability
        truth[j] = probability
        malformed[j] = uniform(mixed(key, _MALFORMED)) < malformed_share
