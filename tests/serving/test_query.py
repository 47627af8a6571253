"""What is said of requests that cannot be answered, in both forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from google.protobuf import json_format

from serving import predict_pb2 as pb
from serving.errors import BadRequestError, FeatureValueError
from serving.inputs import input_fields
from serving.query import Query, QueryRules, read_query
from serving.requests import named_request, packed_request
from tests.serving.world import NOW_US, SPEC

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES = QueryRules(input_fields(SPEC.features), 3)


def _read(request: pb.PredictRequest) -> Query:
    return read_query(request, RULES, NOW_US)


def _json(text: str) -> pb.PredictRequest:
    return json_format.Parse(text, pb.PredictRequest())


def _column(query: Query, name: str) -> list[object]:
    batch = query.candidates if name in query.candidates.schema.names else query.context
    values: list[object] = batch.column(name).to_pylist()
    return values


def test_a_request_written_by_hand_is_read() -> None:
    query = _json_query()
    assert query.size == 2
    assert query.event_ts_us == 5
    assert _column(query, "user_id") == [42]
    assert _column(query, "item_id") == ["x", None]
    assert _column(query, "tags") == [["a", "b"], []]
    assert _column(query, "title") == ["red shoes", None]
    assert _column(query, "country") == [None]


def _json_query() -> Query:
    return _read(
        _json("""{
            "eventTsUs": 5,
            "context": {"user_id": {"int": 42}, "position": {"number": 1}},
            "candidates": [
                {"features": {"item_id": {"string": "x"}, "title": {"string": "red shoes"},
                              "tags": {"strings": {"values": ["a", "b"]}}}},
                {}
            ]
        }""")
    )


def test_a_packed_request_says_the_same() -> None:
    query = _read(
        packed_request(
            {"user_id": 42, "position": 1.0},
            {"item_id": ["x", None], "tags": [["a", "b"], None], "title": ["red shoes", None]},
        )
    )
    by_hand = _json_query()
    for name in RULES.fields:
        expected = {"title": ["red shoes", ""]}.get(name, _column(by_hand, name))
        assert _column(query, name) == expected


def test_texts_of_a_feature_that_splits_them_are_joined() -> None:
    titles = [["red", "shoes"], "blue hat", None]
    for request in (
        packed_request(_OK, {"title": titles}),
        named_request(_OK, [{"title": ["red", "shoes"]}, {"title": ["blue hat"]}, {}]),
    ):
        assert _column(_read(request), "title") == ["red shoes", "blue hat", ""]


def test_a_single_value_of_a_multi_valued_feature_is_a_list_of_one() -> None:
    request = named_request({"position": 1}, [{"tags": "a"}, {}, {"tags": "b"}])
    assert _column(_read(request), "tags") == [["a"], [], ["b"]]
    packed = packed_request({"position": 1}, {"tags": np.array([3, 4])})
    assert _column(_read(packed), "tags") == [[3], [4]]


def test_a_feature_that_no_candidate_has_may_come_as_an_empty_column() -> None:
    packed = packed_request({"position": 1}, {"item_id": [1, 2], "price": [None, None]})
    assert _column(_read(packed), "price") == [None, None]


_OK = {"position": 1}


@pytest.mark.parametrize(
    ("context", "candidate", "message"),
    [
        (_OK, {"itme": 1}, r"feature 'itme', candidate 1: is not one of this model's: age, count"),
        ({"usr": 1}, {}, r"feature 'usr': is not one of"),
        (
            _OK,
            {"item_id": 1.5},
            r"'item_id', candidate 1: categorical, takes string or int or bool",
        ),
        (_OK, {"price": "1"}, r"'price', candidate 1: bucketised, takes int or number or bool"),
        ({"position": "top"}, {}, r"'position': numeric, takes .*; string was sent"),
        (_OK, {"price": float("nan")}, r"'price', candidate 1: nan was sent; .* finite"),
        (_OK, {"price": float("inf")}, r"'price', candidate 1: inf was sent"),
        ({"position": 1e300}, {}, r"'position': 1e\+300 was sent"),
        (_OK, {"item_id": [1, 2]}, r"'item_id', candidate 1: takes one value, ints was sent"),
        ({}, {}, r"'position': is missing; numeric, and it has no default"),
        ({}, {"position": 1}, r"'position', candidate 0: is missing"),
        (
            {"position": 1, "price": 2},
            {"price": 1},
            r"'price': is in the context and in the candidates",
        ),
    ],
)
def test_a_wrong_feature_is_named_with_its_candidate(
    context: Mapping[str, int], candidate: Mapping[str, int], message: str
) -> None:
    with pytest.raises(FeatureValueError, match=message):
        _read(named_request(context, [{}, candidate]))


def _packed(**columns: pb.Column) -> pb.PredictRequest:
    named = [pb.Column(name=name) for name in columns]
    for column, content in zip(named, columns.values(), strict=True):
        column.MergeFrom(content)
    position = pb.Column(name="position", ints=pb.Ints(values=[1]))
    return pb.PredictRequest(packed=pb.PackedFeatures(context=[position], candidates=named))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            _packed(item_id=pb.Column(numbers=pb.Numbers(values=[1.5]))),
            "'item_id': categorical, takes string or int or bool; number was sent",
        ),
        (
            _packed(price=pb.Column(numbers=pb.Numbers(values=[1, float("nan")]))),
            "'price', candidate 1: nan was sent",
        ),
        (
            _packed(price=pb.Column(numbers=pb.Numbers(values=[float("inf")]), lengths=[0, 1])),
            "'price', candidate 1: inf was sent",
        ),
        (
            _packed(tags=pb.Column(ints=pb.Ints(values=[1, 2]), lengths=[2, 1])),
            "'tags': lengths add up to 3, but there are 2 values",
        ),
        (
            _packed(item_id=pb.Column(ints=pb.Ints(values=[1, 2]), lengths=[0, 2])),
            "'item_id', candidate 1: takes one value, 2 were sent",
        ),
        (
            _packed(
                item_id=pb.Column(ints=pb.Ints(values=[1, 2])),
                price=pb.Column(ints=pb.Ints(values=[1])),
            ),
            "'price': is of 1 candidates, while 'item_id' is of 2",
        ),
        (_packed(item_id=pb.Column()), "'item_id': its column has no values"),
        (_packed(itme=pb.Column(ints=pb.Ints(values=[1]))), "'itme': is not one of"),
        (_packed(position=pb.Column(ints=pb.Ints(values=[1]))), "in the context and in"),
    ],
)
def test_a_wrong_column_is_named(request_: pb.PredictRequest, message: str) -> None:
    with pytest.raises(FeatureValueError, match=message):
        _read(request_)


def test_a_packed_context_is_one_example() -> None:
    column = pb.Column(name="user_id", ints=pb.Ints(values=[1, 2]))
    other = pb.Column(name="item_id", ints=pb.Ints(values=[1, 2]))
    packed = pb.PackedFeatures(context=[column], candidates=[other])
    with pytest.raises(FeatureValueError, match="'user_id': is of 2 examples; the context is one"):
        _read(pb.PredictRequest(packed=packed))
    twice = pb.PackedFeatures(context=[], candidates=[other, other])
    with pytest.raises(FeatureValueError, match="'item_id': has two columns"):
        _read(pb.PredictRequest(packed=twice))


def test_a_value_without_content_is_refused() -> None:
    with pytest.raises(FeatureValueError, match="'item_id', candidate 0: has no value"):
        _read(_json('{"candidates": [{"features": {"item_id": {}}}]}'))


def test_one_feature_has_one_type_in_a_request() -> None:
    request = named_request(_OK, [{"item_id": 1}, {"item_id": "x"}])
    with pytest.raises(FeatureValueError, match="candidate 1: string was sent, and int before"):
        _read(request)


def test_unknown_features_are_ignored_where_the_request_says_so() -> None:
    request = named_request({"position": 1, "usr": 3}, [{"item_id": 1, "itme": 2.5}])
    request.ignore_unknown_features = True
    query = _read(request)
    assert "usr" not in query.context.schema.names
    assert "itme" not in query.candidates.schema.names


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.PredictRequest(), "there are no candidates"),
        (pb.PredictRequest(packed=pb.PackedFeatures()), "there are no candidates"),
        (named_request(_OK, [{}] * 4), "there are 4 candidates; this server takes 3 at once"),
        (
            pb.PredictRequest(candidates=[pb.Candidate()], packed=pb.PackedFeatures()),
            "send either context and candidates, or packed, not both",
        ),
        (
            pb.PredictRequest(
                context={"position": pb.Value(int=1)}, candidates=[pb.Candidate()], event_ts_us=-1
            ),
            "event_ts_us is -1",
        ),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused(request_: pb.PredictRequest, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        _read(request_)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1 << 64, "does not fit in 64 bits"),
        (object(), "object was given"),
        ([1, "a"], "values of int, str were given"),
    ],
)
def test_the_client_refuses_what_no_request_can_carry(value: object, message: str) -> None:
    with pytest.raises(FeatureValueError, match=message):
        named_request({}, [{"item_id": value}])  # type: ignore[dict-item]
