"""Equal rows give equal bytes and one digest, however they were cut; only what is needed is read."""

import datetime as dt
import hashlib
import io
import json
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests import parquet
from manifests.parquet import TableWriter, content_digest, iter_batches, open_parquet, read_table, write_table
from manifests.store import Store

SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("side", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("kept", pa.bool_()),
        pa.field("digest", pa.binary(2)),
        pa.field("seen", pa.timestamp("us", "UTC")),
        pa.field("members", pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("offset", pa.int64())]))),
    ]
)
MEMBER = st.none() | st.fixed_dictionaries(
    {"name": st.none() | st.text(max_size=3), "offset": st.none() | st.integers(0, 9)}
)
ROW = st.fixed_dictionaries(
    {
        "uid": st.text(max_size=4),
        "caption": st.none() | st.text(max_size=8),
        "side": st.none() | st.integers(-(2**31), 2**31 - 1),
        "score": st.none() | st.floats(width=32),
        "kept": st.none() | st.booleans(),
        "digest": st.none() | st.binary(min_size=2, max_size=2),
        "seen": st.none() | st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1)),
        "members": st.none() | st.lists(MEMBER, max_size=3),
    }
)
ROWS = st.lists(ROW, max_size=12)


def pieces(table: pa.Table, cuts: list[int]) -> list[pa.Table]:
    edges = sorted({0, table.num_rows, *(cut % (table.num_rows + 1) for cut in cuts)})
    return [table.slice(a, b - a) for a, b in pairwise(edges)] or [table]


def written(tables: list[pa.Table], schema: pa.Schema = SCHEMA) -> bytes:
    buffer = io.BytesIO()
    with TableWriter(buffer, schema) as writer:
        for table in tables:
            writer.write(table)
    return buffer.getvalue()


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups and blocks of 5 rows, so that a few rows fill several."""
    monkeypatch.setattr(parquet, "ROW_GROUP", 5)


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_groups")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, cuts=st.lists(st.integers(0, 50), max_size=6), shape=st.sampled_from(["whole", "cut", "chunked"]))
def test_equal_rows_give_equal_bytes_however_they_were_batched(rows, cuts, shape):
    table = pa.Table.from_pylist(rows, SCHEMA)
    parts = pieces(table, cuts)
    given_ = {"whole": [table], "cut": parts, "chunked": [pa.concat_tables(parts)]}[shape]
    again = pa.Table.from_pylist(rows, SCHEMA)
    data = written(given_)
    assert data == write_table(again)
    file = pq.ParquetFile(io.BytesIO(data))
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [5] * (len(rows) // 5) + [len(rows) % 5] * (len(rows) % 5 > 0)
    read = file.read()
    assert read.schema.equals(SCHEMA), "every type comes back as it was"
    assert content_digest([read]) == content_digest([table])


def test_many_rows_in_uneven_batches_give_the_same_bytes():
    """At the true row group size, with dictionaries that overflow and pages that fill."""
    generator = np.random.default_rng(1)
    n = 150_000
    table = pa.table(
        {
            "uid": [f"{i:032x}" for i in range(n)],
            "source": pa.array(np.array(["pages", "books", None], object)[generator.integers(0, 3, n)]),
            "text": pa.array(["word " * int(k) for k in generator.integers(0, 30, n)]),
            "score": pa.array(generator.random(n), mask=generator.random(n) < 0.2),
        }
    )
    cuts = [int(cut) for cut in generator.integers(0, n, 40)]
    assert written(pieces(table, cuts), table.schema) == write_table(table)
    assert content_digest(pieces(table, cuts)) == content_digest([table])


def test_metadata_that_pandas_or_others_left_does_not_count():
    table = pa.table({"a": [1, 2]})
    marked = table.replace_schema_metadata({"pandas": "{}", "time": "now"})
    assert write_table(marked) == write_table(table)
    assert b"pandas" not in write_table(marked)


def test_metadata_that_is_asked_for_is_kept_in_one_order():
    table = pa.table({"a": [1]})
    data = write_table(table, {"b": "2", "a": "1"})
    assert data == write_table(table, {"a": "1", "b": "2"})
    metadata = pq.ParquetFile(io.BytesIO(data)).schema_arrow.metadata
    assert metadata == {b"a": b"1", b"b": b"2"}


def test_rows_of_another_schema_are_refused_with_both(tmp_path):
    writer = TableWriter(tmp_path / "a.parquet", pa.schema([("a", pa.int64())]))
    with pytest.raises(ValueError, match=r"(?s)b: int64.*expected:\na: int64"):
        writer.write(pa.table({"b": [1]}))
    writer.write(pa.record_batch({"a": [1]}))
    writer.close()
    writer.close()
    assert writer.rows == 1
    assert pq.read_table(tmp_path / "a.parquet").to_pydict() == {"a": [1]}


def test_a_file_left_by_an_exception_is_no_table(tmp_path):
    def fail() -> None:
        with TableWriter(tmp_path / "a.parquet", pa.schema([("a", pa.int64())])) as writer:
            writer.write(pa.table({"a": [1]}))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(tmp_path / "a.parquet")


def test_duckdb_reads_it(tmp_path):
    rows = [{"uid": "u1", "side": 5, "members": [{"name": "jpg", "offset": 512}]}, {"uid": "u2", "score": 0.5}]
    (tmp_path / "a.parquet").write_bytes(write_table(pa.Table.from_pylist(rows, SCHEMA)))
    query = f"select uid, side, members[1].name, score from '{tmp_path}/a.parquet' order by uid"
    assert duckdb.execute(query).fetchall() == [("u1", 5, "jpg", None), ("u2", None, None, 0.5)]


# --- reading ----------------------------------------------------------------------------------------------------------


class CountingStore(Store):
    fetched = 0

    def read_ranges(self, path, ranges):
        self.fetched += sum(size for _, size in ranges)
        return super().read_ranges(path, ranges)

    def read(self, path):
        data = super().read(path)
        self.fetched += len(data)
        return data


@pytest.fixture
def large(any_store):
    """A table of four row groups, most of whose bytes are in one column."""
    n = 4 * parquet.ROW_GROUP - 100
    noise = pa.py_buffer(np.random.default_rng(0).bytes(16 * n))
    payload = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, noise])
    table = pa.table({"number": np.arange(n), "payload": payload, "half": np.arange(n) // 2})
    any_store.put("large.parquet", write_table(table))
    return CountingStore(any_store.uri), table


def test_a_column_is_read_without_the_others(large):
    store, table = large
    assert read_table(store, "large.parquet", ["half", "number"]).equals(table.select(["half", "number"]))
    assert store.fetched < store.size("large.parquet") / 2
    assert read_table(store, "large.parquet").equals(table)
    assert read_table(store, "large.parquet", []).num_rows == table.num_rows


def test_row_groups_are_read_one_by_one(large):
    store, table = large
    batches = list(iter_batches(store, "large.parquet", ["number"], rows=10_000, row_groups=[1, 3]))
    assert max(batch.num_rows for batch in batches) <= 10_000
    found = pa.Table.from_batches(batches)["number"].to_pylist()
    group = parquet.ROW_GROUP
    assert found == [*range(group, 2 * group), *range(3 * group, table.num_rows)]
    assert store.fetched < store.size("large.parquet") / 2
    whole = pa.Table.from_batches(iter_batches(store, "large.parquet"))
    assert whole.equals(table)


def test_a_small_file_is_fetched_at_once(any_store):
    any_store.put("small.parquet", write_table(pa.table({"a": [1], "b": ["x"]})))
    store = CountingStore(any_store.uri)
    assert read_table(store, "small.parquet", ["b"]).to_pydict() == {"b": ["x"]}
    assert store.fetched == store.size("small.parquet")
    with open_parquet(store, "small.parquet") as file:
        assert file.metadata.num_rows == 1


def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path):
    store = Store(str(tmp_path))
    store.put("a.parquet", b"not a table")
    with pytest.raises(pa.ArrowInvalid, match=r"a\.parquet: .*footer"):
        read_table(store, "a.parquet")
    with pytest.raises(FileNotFoundError, match=r"absent\.parquet"):
        read_table(store, "absent.parquet")
    store.put("b.parquet", write_table(pa.table({"a": [1], "b": [2]})))
    with pytest.raises(ValueError, match="no column c, d; there are a, b"):
        read_table(store, "b.parquet", ["a", "d", "c"])


# --- digest -----------------------------------------------------------------------------------------------------------


@given(ROWS, st.lists(st.integers(0, 50), max_size=6), st.integers(0, 3))
def test_the_digest_does_not_see_how_rows_were_cut(rows, cuts, offset):
    table = pa.Table.from_pylist(rows, SCHEMA)
    expected = content_digest([table])
    assert content_digest(pieces(table, cuts)) == expected
    assert content_digest([pa.concat_tables(pieces(table, cuts))]) == expected
    padded = pa.concat_tables([table.slice(0, 1)] * offset + [table]).combine_chunks()
    assert content_digest([padded.slice(padded.num_rows - table.num_rows)]) == expected, "views into larger arrays"
    assert content_digest([*pieces(table, cuts), SCHEMA.empty_table()]) == expected


@given(ROWS, ROWS)
def test_the_digest_tells_different_rows_apart(some, others):
    def comparable(rows):
        return [{**row, "score": "nan" if row["score"] != row["score"] else str(row["score"])} for row in rows]

    digests = [content_digest([pa.Table.from_pylist(rows, SCHEMA)]) for rows in (some, others)]
    assert (digests[0] == digests[1]) == (comparable(some) == comparable(others))


def test_the_digest_sees_null_and_empty_order_names_types_and_borders():
    tables = [
        pa.table({"a": ["x", ""]}),
        pa.table({"a": ["x", None]}),
        pa.table({"a": ["", "x"]}),
        pa.table({"b": ["x", ""]}),
        pa.table({"a": pa.array(["x", ""], pa.binary())}),
        pa.table({"a": ["x", "", ""]}),
        pa.table({"a": [["x"], []]}),
        pa.table({"a": [["x", ""]]}),
        pa.table({"a": [["x"], None]}),
        pa.table({"a": [[None], []]}),
        pa.table({"a": [1]}),
        pa.table({"a": [1.0]}),
        pa.table({"a": pa.array([1], pa.int32())}),
        pa.table({"a": pa.array([1], pa.timestamp("us"))}),
        pa.table({"a": [True]}),
        pa.table({"a": pa.nulls(1)}),
        pa.table({"a": [{"x": 1, "y": None}]}),
        pa.table({"a": [{"x": None, "y": 1}]}),
        pa.table({"a": pa.array([None], pa.struct([("x", pa.int64()), ("y", pa.int64())]))}),
        pa.table(
            {"a": [{"x": None, "y": None}]}, pa.schema([("a", pa.struct([("x", pa.int64()), ("y", pa.int64())]))])
        ),
    ]
    digests = [content_digest([table]) for table in tables]
    assert len(set(digests)) == len(tables)
    assert content_digest([tables[0], tables[3]]) != content_digest([tables[3], tables[0]]), "two tables, in order"
    assert content_digest([]) != content_digest([tables[0].slice(0, 0)])


def test_the_digest_does_not_see_what_is_no_content():
    plain = pa.table({"a": ["x", None, "x"], "b": [["p"], None, []]})
    schema = pa.schema(
        [
            pa.field("a", pa.large_string()),
            pa.field("b", pa.large_list(pa.field("element", pa.large_string(), nullable=False))),
        ],
        {"key": "value"},
    )
    assert content_digest([plain.cast(schema)]) == content_digest([plain])
    encoded = plain.set_column(0, "a", plain["a"].dictionary_encode())
    assert content_digest([encoded, plain]) == content_digest([plain, plain])
    nan = np.array([np.nan, 1.0])
    other = nan.copy()
    other.view(np.uint64)[0] |= 5  # NaN has many spellings
    assert content_digest([pa.table({"a": nan})]) == content_digest([pa.table({"a": other})])
    hidden = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(np.array([7, 9]))])
    assert content_digest([pa.table({"a": hidden})]) == content_digest([pa.table({"a": pa.array([7, None])})])


def test_the_digest_is_what_its_text_says():
    """Computed by hand for one column of strings: a digest that is published must not change by accident."""

    def hexdigest(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    streams = [
        [["0", "lengths"], hexdigest(b"".join(n.to_bytes(8, "little") for n in (1, 0, 2)))],
        [["0", "valid"], hexdigest(b"\x01\x00\x01")],
        [["0", "values"], hexdigest(b"x" + "é".encode())],
    ]
    line = json.dumps([[["a", "string"]], 3, streams], separators=(",", ":"))
    assert content_digest([pa.table({"a": ["x", None, "é"]})]) == hexdigest(line.encode() + b"\n")


def test_a_type_without_a_spelling_is_refused():
    table = pa.table({"a": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))})
    with pytest.raises(TypeError, match="map<string, int64"):
        content_digest([table])
