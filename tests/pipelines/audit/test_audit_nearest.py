import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit import nearest
from pipelines.audit.nearest import Pool, Rows, codes, offer, ranks

RULES = 3


def rows_of(records):
    """records: (uid, sha256 or None, value, place)"""
    uid = pa.chunked_array([pa.array([r[0] for r in records], pa.string())])
    sha256 = pa.chunked_array([pa.array([r[1] for r in records], pa.string())])
    values = np.array([r[2] for r in records], float)
    place = np.array([r[3] for r in records], np.int64)
    segment = np.zeros(len(records), np.int64)
    text = pa.chunked_array([pa.array([str(v) for v in values], pa.string())])
    return Rows(0, uid, segment, sha256, place, values, text, ranks(uid), codes(sha256))


records = st.lists(
    st.tuples(
        st.integers(0, 10**9).map(lambda n: f"{n:032x}"),
        st.sampled_from([None, *(f"picture-{i}" for i in range(30))]),
        st.integers(0, 40).map(float),
        st.integers(-1, RULES),
    ),
    max_size=80,
    unique_by=lambda record: record[0],
)


def chosen(parts, bound=20.0, rule=1):
    pool = Pool()
    for part in parts:
        if part:
            rows = rows_of(part)
            offer(pool, rows, rows.values >= bound, np.abs(rows.values - bound), rule)
    return [(c.late, c.distance, c.uid) for c in pool.ranked()]


def expected(records, bound=20.0, rule=1):
    ranked = sorted((int(p < rule), v - bound, uid, sha or uid) for uid, sha, v, p in records if v >= bound and p >= 0)
    first = {}
    for late, distance, uid, key in ranked:
        first.setdefault(key, (late, distance, uid))
    return sorted(first.values())[: nearest.POOL]


@given(records, st.randoms(), st.integers(1, 9))
def test_the_choice_is_the_nearest_whatever_the_order_and_the_parts(records, random, size):
    shuffled = random.sample(records, len(records))
    parts = [shuffled[i : i + size] for i in range(0, len(shuffled), size)]
    assert chosen(parts) == chosen([records]) == expected(records)


def test_a_picture_that_stands_everywhere_is_shown_once():
    logo = [(f"{i:032x}", "logo", 20.0, RULES) for i in range(500)]
    others = [(f"{1000 + i:032x}", f"other-{i}", 30.0, RULES) for i in range(3)]
    found = chosen([logo + others])
    assert [distance for _, distance, _ in found] == [0.0, 10.0, 10.0, 10.0]


def test_what_an_earlier_rule_dropped_comes_last():
    found = chosen([[("a" * 32, None, 20.0, 0), ("b" * 32, None, 39.0, RULES)]])
    assert [uid[0] for _, _, uid in found] == ["b", "a"]
