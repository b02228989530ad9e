"""The guard finds the guilty records of a batch and only those; the breaker tells bad settings from bad data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import RecordError, RunError, TransientError
from stages.guard import DeadShare, guarded
from stages.scorer import Batch, Score
from tests.stages.toys import batch_of, one_color


@dataclass
class Lengths:
    """The caption's length, and each picture's width; raises for the captions that `guilty` names."""

    guilty: Mapping[str, Exception] = field(default_factory=dict)
    calls: int = 0
    name = "toy.lengths"
    version = 1
    scores = (
        Score("toy.length", pa.int32(), "document", "characters", "length"),
        Score("toy.width", pa.int32(), "media", "pixels", "width"),
    )

    def setup(self) -> None:
        pass

    def score(self, batch: Batch) -> Mapping[str, Any]:
        self.calls += 1
        for document in batch.documents:
            if document.text() in self.guilty:
                raise self.guilty[document.text()]
        return {
            "toy.length": [len(document.text()) for document in batch.documents],
            "toy.width": np.array([picture.width for picture in batch.all_pictures()], np.int64),
        }


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=40))
def test_only_the_guilty_die_and_the_others_keep_their_values(records: list[tuple[bool, int]]):
    captions = [f"{n:0{1 + n % 7}d}" for n in range(len(records))]
    pictures = [[one_color(10 * n + k + 1, 2) for k in range(count)] for n, (_, count) in enumerate(records)]
    guilty = {caption: RecordError("Odd", caption) for caption, (bad, _) in zip(captions, records, strict=True) if bad}
    values, dead = guarded(Lengths(guilty), batch_of(captions, pictures))
    expected = [(n, "Odd", captions[n]) for n, (bad, _) in enumerate(records) if bad]
    assert dead == expected
    assert values["toy.length"] == [None if c in guilty else len(c) for c in captions]
    widths = [None if c in guilty else p.width for c, shown in zip(captions, pictures, strict=True) for p in shown]
    assert values["toy.width"] == widths


def test_one_bad_record_costs_few_calls_and_none_of_its_batch():
    """A peer loses the whole batch."""
    captions = [str(n) for n in range(1000)]
    scorer = Lengths({"617": ValueError("what is this?")})
    values, dead = guarded(scorer, batch_of(captions))
    assert dead == [(617, "ValueError", "what is this?")]
    assert values["toy.length"].count(None) == 1
    assert scorer.calls < 25


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError("torch"), NameError("x"), RunError("x"), TransientError("x")]
)
def test_trouble_that_is_not_the_record_s_goes_up(error: Exception):
    with pytest.raises(type(error)):
        guarded(Lengths({"b": error}), batch_of(["a", "b", "c"]))


@dataclass
class Returns:
    """Whatever it is told to return."""

    values: Mapping[str, Any]
    type: pa.DataType = field(default_factory=pa.float32)
    name = "toy.returns"
    version = 1

    @property
    def scores(self) -> tuple[Score, ...]:
        return (Score("toy.value", self.type, "document", "", ""),)

    def setup(self) -> None:
        pass

    def score(self, batch: Batch) -> Mapping[str, Any]:
        return self.values


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"toy.value": [1.0]}, "scorer toy.returns returned 1 values of toy.value for 2 document records"),
        ({"toy.value": [1.0, 2.0, 3.0]}, "returned 3 values of toy.value for 2 document records"),
        ({}, r"scorer toy.returns declares \['toy.value'\] and returned \[\]"),
        ({"toy.value": [1.0, 2.0], "more": [1, 2]}, r"returned \['more', 'toy.value'\]"),
        ({"toy.value": [1.0, "x"]}, "scorer toy.returns: values of toy.value are no float: "),
    ],
)
def test_a_scorer_that_returns_what_it_does_not_declare_stops_the_run(values: Mapping[str, Any], why: str):
    with pytest.raises(RunError, match=why):
        guarded(Returns(values), batch_of(["a", "b"]))


def test_a_number_too_large_for_its_column_stops_the_run():
    with pytest.raises(RunError, match=r"values of toy\.value are no int8"):
        guarded(Returns({"toy.value": [1, 300]}, pa.int8()), batch_of(["a", "b"]))


@pytest.mark.parametrize("values", [np.array([1.5, np.nan], np.float64), [1.5, None], pa.array([1.5, None])])
def test_values_come_back_as_python_s_own_and_nan_as_none(values: Sequence[Any]):
    assert guarded(Returns({"toy.value": values}), batch_of(["a", "b"])) == ({"toy.value": [1.5, None]}, [])


def test_an_empty_batch_has_empty_columns():
    assert guarded(Lengths(), Batch([], [])) == ({"toy.length": [], "toy.width": []}, [])


def test_nearly_every_record_dying_of_one_thing_stops_the_task():
    breaker = DeadShare(0.95, 200)
    for number in range(199):
        breaker.record("image.decode", None if number < 5 else "UnknownFormat")
    with pytest.raises(RunError, match=r"195 of 200 records died of UnknownFormat in image\.decode \(98%\)"):
        breaker.record("image.decode", "UnknownFormat")


def test_bad_data_is_not_taken_for_a_bad_setting():
    mixed = DeadShare(0.95, 200)
    for number in range(2000):
        mixed.record("image.decode", "UnknownFormat" if number % 2 else "Truncated")
    seldom = DeadShare(0.95, 200)
    for number in range(2000):
        seldom.record("image.decode", None if number % 10 == 0 else "Truncated")
    few = DeadShare(0.95, 200)
    for _ in range(199):
        few.record("image.decode", "Truncated")
    stages = DeadShare(0.95, 200)
    for number in range(2000):
        stages.record(("image.decode", "image.blur")[number % 2], "ValueError")
    assert mixed.tried == seldom.tried == stages.tried == 2000


def test_a_share_of_more_than_one_is_never_reached():
    breaker = DeadShare(1.01, 1)
    for _ in range(500):
        breaker.record("read", "Truncated")
    assert breaker.tried == 500
