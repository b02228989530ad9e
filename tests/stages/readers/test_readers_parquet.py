"""Which columns of a table make a document, what its key is, and which tables are refused with which remedy."""

import hashlib
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.document import uid_of
from manifests.errors import RunError
from stages.readers.parquet import ParquetReader


def table_of(columns, row_group_size: int | None = None) -> bytes:
    out = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), out, row_group_size=row_group_size)
    return out.getvalue()


@pytest.fixture
def read(files, read_all):
    """read(columns): the reader's output for one table of them."""

    def run(columns, **settings):
        data = columns if isinstance(columns, bytes) else table_of(columns)
        return read_all(ParquetReader("tables", **settings), files({"0.parquet": data}))

    return run


def test_a_row_of_bytes_and_caption_is_a_document(read, picture):
    columns = {"key": ["7"], "jpg": [picture(1)], "caption": ["Two cats"], "alt": ["cats"], "url": ["https://e.org/a"]}
    found = read(columns, licence="CC0")
    document = found.documents[0]
    assert document.uid == uid_of("tables", "7")
    assert document.text() == "Two cats"
    assert (document.source.uri, document.source.licence) == ("https://e.org/a", "CC0")
    assert document.source.locator == {"file": "0.parquet", "row": 0}
    assert document.facts["caption"] == {"chosen": "column.caption", "alternatives": {"column.alt": "cats"}}
    assert document.segments[0].media.extension == "jpg"
    assert found.candidates[0].payloads == (picture(1),)


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"uid": ["u"], "key": ["k"], "url": ["https://e.org"]}, "u"),
        ({"key": ["k"], "url": ["https://e.org"]}, "k"),
        ({"UID": [17]}, "17"),
        ({"url": ["https://e.org"]}, "https://e.org\0Two cats"),
        ({"key": pa.array([None], pa.string()), "url": ["https://e.org"]}, "https://e.org\0Two cats"),
        ({}, hashlib.sha256(b"photo").hexdigest() + "\0Two cats"),
    ],
)
def test_the_key_is_never_the_row_number(read, columns, key):
    assert read({"image": [b"photo"], "text": ["Two cats"], **columns}).uids() == [uid_of("tables", key)]


def test_the_struct_of_bytes_and_path_that_hugging_face_writes_is_understood(read, picture):
    rows = [{"bytes": picture(1), "path": "x/a.webp"}, {"bytes": picture(2), "path": None}, None]
    found = read({"image": rows, "text": ["One", "Two", "Three"]})
    assert found.captions == ["One", "Two"]
    assert [document.segments[0].media.extension for document in found.documents] == ["webp", "png"]
    assert found.uids()[0] == uid_of("tables", "x/a.webp\0One")
    assert found.reasons == ["NoPicture"]


def test_a_list_of_captions_makes_a_document_each(read):
    found = read({"uid": ["u", "v"], "image": [b"1", b"2"], "captions": [["One", "Two"], []]})
    assert found.captions == ["One", "Two"]
    assert found.uids() == [uid_of("tables", "u"), uid_of("tables", "u\x002")]
    assert found.reasons == ["NoCaption"]


def test_columns_may_be_named_and_may_be_dictionaries(read):
    table = pa.table(
        {"pixels": [b"1"], "french": pa.array(["Deux chats"]).dictionary_encode(), "terms": ["CC0"], "n": ["5"]}
    )
    named = {"picture_column": "pixels", "caption_column": "french", "licence_column": "terms", "key_column": "n"}
    document = read(table_of(table), **named).documents[0]
    assert (document.uid, document.text(), document.source.licence) == (uid_of("tables", "5"), "Deux chats", "CC0")


def test_null_and_wrong_cells_are_dead_with_the_reason(read):
    columns = {"key": list("abcd"), "image": [b"1", None, b"3", b"4"], "caption": [None, "Two", " ", "Four"]}
    found = read(columns)
    assert found.captions == ["Four"]
    assert [(item.key, item.reason) for item in found.dead] == [
        ("a", "NoCaption"),
        ("b", "NoPicture"),
        ("c", "NoCaption"),
    ]


def test_captions_that_are_no_text_are_dead(read):
    assert read({"key": ["a"], "image": [b"1"], "caption": [3]}).reasons == ["BadCaption"]


def test_paths_are_read_below_the_media_root(files, read_all, picture, tmp_path):
    root = tmp_path / "media"
    (root / "x").mkdir(parents=True)
    (root / "x" / "a.jpg").write_bytes(picture(1))
    paths = ["x/a.jpg", "x/no.jpg", "../input/0.parquet", "/etc/passwd", "https://example.org/a.jpg", None, "x"]
    store = files(
        {"0.parquet": table_of({"image_path": paths, "caption": [f"Caption {i}" for i in range(len(paths))]})}
    )
    found = read_all(ParquetReader("tables", media_root=str(root)), store)
    assert found.captions == ["Caption 0"]
    assert found.uids() == [uid_of("tables", "x/a.jpg\0Caption 0")]
    assert found.candidates[0].payloads == (picture(1),)
    reasons = ["MissingFile", "OutsideInput", "OutsideInput", "NotDownloaded", "NoPicture", "MissingFile"]
    assert [item.reason for item in found.dead] == reasons
    assert str(tmp_path) not in str([document.to_json() for document in found.documents])


def test_paths_are_read_below_the_input_where_it_holds_pictures(files, read_all, picture):
    table = table_of({"file_name": ["a b.jpg"], "text": ["Two cats"]})
    assert read_all(ParquetReader("tables"), files({"metadata.parquet": table, "a b.jpg": picture()})).captions == [
        "Two cats"
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"url": ["x"], "caption": ["y"]}, r"0\.parquet has addresses .*'url'.* does not download.* with img2dataset"),
        ({"URL": ["x"], "TEXT": ["y"]}, r"has addresses .*'URL'.* img2dataset"),
        ({"path": ["x"], "caption": ["y"]}, r"names its pictures by path .*'path'.*--media-root"),
        ({"image": [b"x"], "label": ["y"]}, r"no column of captions; looked for caption, text.*: image, label"),
        (
            {"pixels": [b"x"], "caption": ["y"]},
            r"no column of pictures; looked for bytes under image, jpg.*: pixels, caption",
        ),
        ({"image": [[1, 2]], "caption": ["y"]}, r"no column of pictures"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_when_planning(files, columns, message):
    store = files({"0.parquet": table_of(columns)})
    with pytest.raises(RunError, match=message):
        list(ParquetReader("tables").plan(store))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"caption_column": "TEXT"}, r"no column 'TEXT' \(caption_column\); its columns: image, caption"),
        ({"picture_column": "caption", "media_root": None}, r"names its pictures by path"),
    ],
)
def test_a_named_column_that_does_not_fit_is_refused(files, settings, message):
    store = files({"0.parquet": table_of({"image": [b"x"], "caption": ["y"]})})
    with pytest.raises(RunError, match=message):
        list(ParquetReader("tables", **settings).plan(store))


def test_an_input_without_tables_is_refused(files):
    with pytest.raises(RunError, match=r"no tables found under .*\.parquet"):
        list(ParquetReader("tables").plan(files({"a.txt": "x"})))


def test_a_file_that_is_no_table_is_one_dead_row_and_the_others_are_read(files, read_all):
    good = table_of({"key": ["a"], "image": [b"1"], "caption": ["Two cats"]})
    broken = bytearray(table_of({"key": ["b"] * 50, "image": [bytes(100)] * 50, "caption": ["x y"] * 50}))
    broken[4:200] = bytes(196)
    store = files({"0.parquet": b"nonsense", "1.parquet": b"", "2.parquet": good, "3.parquet": bytes(broken)})
    found = read_all(ParquetReader("tables"), store)
    assert found.captions == ["Two cats"]
    assert [(item.reason, item.locator["file"]) for item in found.dead] == [
        ("BadTable", "0.parquet"), ("BadTable", "1.parquet"), ("BadTable", "3.parquet"),
    ]  # fmt: skip


def test_row_groups_are_spread_over_tasks_and_every_row_is_read_once(files, read_all):
    numbers = range(2500)
    columns = {"key": [str(i) for i in numbers], "image": [b"%d" % i for i in numbers], "caption": ["A cat"] * 2500}
    table = pa.table(columns)
    store = files({"a.parquet": table_of(table, 300), "b.parquet": table_of(table.slice(0, 5))})
    tasks = list(ParquetReader("tables").plan(store))
    assert tasks == list(ParquetReader("tables").plan(store))
    assert [sum(part["rows"] for part in task["parts"]) for task in tasks] == [900, 900, 705]
    found = read_all(ParquetReader("tables"), store)
    assert [document.source.locator["row"] for document in found.documents] == [*numbers, *range(5)]
    assert found.uids()[:2500] == [uid_of("tables", str(i)) for i in numbers]


def test_a_row_group_of_many_paths_is_read_in_parts(files, read_all, picture, monkeypatch):
    monkeypatch.setattr("stages.readers.parquet.ROWS_A_PART", 40)
    columns = {"key": [str(i) for i in range(100)], "path": ["a.jpg"] * 100, "caption": ["A cat"] * 100}
    store = files({"0.parquet": table_of(columns), "a.jpg": picture()})
    (task,) = ParquetReader("tables").plan(store)
    assert [(part["start"], part["rows"]) for part in task["parts"]] == [(0, 40), (40, 40), (80, 20)]
    assert [d.source.locator["row"] for d in read_all(ParquetReader("tables"), store).documents] == list(range(100))
