from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.manifest import Totals
from manifests.rules import Bounds
from pipelines.audit import tallies
from pipelines.audit.funnel import Funnel
from pipelines.audit.tallies import Range, Tally

cells = st.lists(st.tuples(st.sampled_from(["en", "de", "fr", None]), st.sampled_from(["kept", "dropped", "dead"])))


def tally_of(parts):
    tally = Tally()
    for part in parts:
        values, outcomes = [v for v, _ in part], [o for _, o in part]
        tally.add(
            pa.chunked_array([pa.array(values, pa.string())]), pa.chunked_array([pa.array(outcomes, pa.string())])
        )
    return tally


@given(st.lists(cells, max_size=5))
def test_a_tally_does_not_know_parts(parts):
    everything = [cell for part in parts for cell in part]
    tally = tally_of(parts)
    assert tally.counts == tally_of([everything]).counts
    assert tally.missing == sum(value is None for value, _ in everything)
    assert tally.total == Counter(value for value, _ in everything if value is not None)


def test_a_column_of_endless_values_is_held_by_its_commonest(monkeypatch):
    monkeypatch.setattr(tallies, "DISTINCT", 100)
    tally = tally_of(
        [
            [(f"value-{i}", "kept") for i in range(start, start + 60)] + [("common", "kept")] * 9
            for start in range(0, 600, 60)
        ]
    )
    assert len(tally.total) <= 100
    assert tally.top(1)[0][:2] == ("common", 90)
    assert sum(tally.total.values()) + tally.rest == 690


def test_top_values_come_by_count_then_name_and_say_what_they_leave_out():
    tally = tally_of([[("b", "kept"), ("a", "dead"), ("c", "kept"), ("c", "dropped")]])
    assert [(value, count) for value, count, _ in tally.top(2)] == [("c", 2), ("a", 1)]
    assert tally.beyond(2) == (1, 1)


def test_a_range_passes_over_what_is_not_finite():
    found = Range()
    found.add(pa.chunked_array([pa.array([3.0, None, float("nan"), float("inf"), -2.0])]))
    assert (found.low, found.high) == (-2.0, 3.0)
    assert Range().empty


@pytest.mark.parametrize(
    ("totals", "problem"),
    [
        (Totals(10, 6, {"a.b.min": 3}, {"Truncated": 1}, 2, 0), None),
        (Totals(11, 6, {"a.b.min": 3}, {"Truncated": 1}, 2, 0), "the manifest says that 11 came in"),
        (Totals(10, 7, {"a.b.min": 2}, {"Truncated": 1}, 2, 0), "kept: the ledger has 6, the manifest 7"),
        (Totals(10, 6, {"a.b.max": 3}, {"Truncated": 1}, 2, 0), "reasons for dropping"),
        (Totals(9, 6, {"a.b.min": 3}, {}, 2, 0), "the ledger has 10 documents, the manifest 9"),
    ],
)
def test_the_funnel_says_where_the_numbers_do_not_add_up(totals, problem):
    funnel = Funnel([Bounds("a.b", min=1)])
    funnel.outcomes.update({"kept": 6, "dropped": 3, "dead": 1})
    funnel.reasons.update({"a.b.min": 3})
    found = funnel.problems(totals)
    assert found == [] if problem is None else any(problem in text for text in found)


def test_steps_hand_what_is_left_to_the_next():
    funnel = Funnel([Bounds("a.b", min=1, max=5), Bounds("c.d", max=2)])
    funnel.outcomes.update({"kept": 6, "dropped": 4, "dead": 1})
    funnel.reasons.update({"a.b.min": 2, "a.b.missing": 1, "c.d.max": 1})
    first, second = funnel.steps()
    assert (first.reached, first.dropped, first.left) == (10, 3, 7)
    assert first.reasons == {"a.b.min": 2, "a.b.missing": 1}
    assert (second.reached, second.dropped, second.left) == (7, 1, 6)
