import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.rules import Bounds, satisfied
from pipelines.audit.charts import HEIGHT, LEFT, RIGHT, TOP, WIDTH, ceiling, histogram_chart, rows_of
from pipelines.audit.histograms import Cut, Histogram, axis_for

floats32 = st.floats(-1e6, 1e6, width=32)
CUTS = [(), ("min",), ("max",), ("min", "max")]


@st.composite
def cases(draw):
    """(values, whether they are integers, cuts)"""
    whole = draw(st.booleans())
    some = st.integers(-50, 10**6).map(float) if whole else floats32
    values = np.array(draw(st.lists(some, min_size=1, max_size=60)))
    bounds = sorted(draw(st.lists(some | floats32, min_size=2, max_size=2)))
    sides = draw(st.sampled_from(CUTS))
    return values, whole, tuple(Cut(side, bounds[side == "max"]) for side in sides)


def counted(values, whole, cuts, pieces=1):
    histogram = Histogram(axis_for(float(values.min()), float(values.max()), whole, cuts), cuts)
    for piece in np.array_split(values, pieces):
        histogram.add(piece, np.zeros(len(piece), bool))
    return histogram


@given(cases(), st.integers(1, 7))
def test_counting_in_pieces_counts_the_same(case, pieces):
    values, whole, cuts = case
    assert (counted(values, whole, cuts).counts == counted(values, whole, cuts, pieces).counts).all()


@given(cases())
def test_every_value_is_in_the_bar_that_says_so(case):
    values, whole, cuts = case
    histogram = counted(values, whole, cuts)
    edges = histogram.axis.edges
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= values.min()
    assert values.max() < edges[-1] or math.isclose(values.max(), edges[-1])
    assert histogram.total == len(values)


@given(cases())
def test_no_bar_lies_on_both_sides_of_a_cut(case):
    values, whole, cuts = case
    histogram = counted(values, whole, cuts)
    assert not (histogram.counts[1] * histogram.counts[2]).any()


@given(st.lists(floats32 | st.none(), min_size=1, max_size=40), floats32)
def test_what_fails_is_what_the_rule_drops(values, bound):
    column = pa.array(values, pa.float32())
    numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = numbers[~np.isnan(numbers)]
    for side in ("min", "max"):
        passed = satisfied(Bounds("a.score", **{side: bound}), column)
        cuts = (Cut(side, bound),)
        axis = (
            axis_for(float(known.min()), float(known.max()), False, cuts) if len(known) else axis_for(0, 1, False, ())
        )
        histogram = Histogram(axis, cuts)
        histogram.add(numbers, passed)
        assert histogram.counts[2].sum() + histogram.missing == (~passed).sum()
        assert histogram.counts[0].sum() == passed.sum()


def test_missing_and_infinite_values_are_counted_apart():
    histogram = Histogram(axis_for(0.0, 1.0, False, ()), ())
    histogram.add(np.array([0.5, np.nan, np.inf, -np.inf]), np.ones(4, bool))
    assert (histogram.total, histogram.missing, histogram.infinite) == (1, 1, 2)


def test_wide_ranges_are_logarithmic_and_shares_are_not():
    assert axis_for(16, 4000, True, (Cut("min", 200),)).scale == "log"
    assert axis_for(0, 5000, True, (Cut("max", 300),)).scale == "log"
    assert axis_for(0.0, 1.0, False, (Cut("max", 0.98),)).scale == "linear"
    assert axis_for(0.0, 7.9, False, (Cut("min", 1.0),)).scale == "linear"
    assert axis_for(-40.0, 4000.0, False, ()).scale == "linear"


def test_few_whole_numbers_get_a_bar_each():
    axis = axis_for(1, 9, True, (Cut("min", 3),))
    assert axis.edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]


def test_edges_of_a_linear_axis_are_round():
    assert axis_for(0.013, 0.987, False, ()).edges[1:-1] == pytest.approx(np.arange(0.05, 0.96, 0.05), abs=1e-9)


def test_a_cut_near_the_data_is_drawn_and_a_far_one_is_named():
    near = counted(np.linspace(0, 1, 50), False, (Cut("max", 1.1),))
    far = counted(np.linspace(0, 1, 50), False, (Cut("max", 90.0),))
    assert [mark.label for mark in histogram_chart(near).marks] == ["← max 1.1"]
    assert (histogram_chart(far).marks, histogram_chart(far).away) == ([], ["max 90 lies outside this axis"])


def test_a_single_value_still_shows_the_cut_beside_it():
    chart = histogram_chart(counted(np.array([211.0]), True, (Cut("min", 200),)))
    assert [mark.label for mark in chart.marks] == ["min 200 →"]
    assert chart.away == []


@given(cases())
def test_the_drawing_stays_inside_its_frame(case):
    chart = histogram_chart(counted(*case))
    boxes = [box for bar in chart.bars for box in bar.boxes]
    assert boxes
    for box in (*boxes, *chart.zones):
        assert box.width >= 0
        assert box.height >= 0
        assert LEFT - 0.1 <= box.x <= box.x + box.width <= WIDTH - RIGHT + 0.1
        assert box.y + box.height <= HEIGHT - TOP + 4.1
    assert all(LEFT - 0.1 <= tick.at <= WIDTH - RIGHT + 0.1 for tick in chart.across)


@given(cases())
def test_the_table_behind_the_drawing_holds_every_document(case):
    histogram = counted(*case)
    assert sum(sum(row.counts) for row in rows_of(histogram)) == histogram.total


def test_a_bar_that_dwarfs_the_others_is_broken_off_and_says_its_count():
    values = np.concatenate([np.full(9000, 10.0), np.repeat(np.arange(20.0, 40.0), 5)])
    bars = histogram_chart(counted(values, True, (Cut("min", 25),))).bars
    assert [bar.label for bar in bars if bar.label] == ["9,000"]
    assert ceiling(np.array([9, 8, 8, 7, 9, 6])) == 9
