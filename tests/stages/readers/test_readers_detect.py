"""Which reader an input gets where nobody names one, and what is refused."""

import pytest

from manifests.errors import RunError
from stages.readers.base import BYTES_A_TASK, in_tasks
from stages.readers.detect import detect, make_reader


def many(end: str, number: int, folder: str = "d/") -> dict[str, str]:
    return {f"{folder}{i}{end}": "" for i in range(number)}


@pytest.mark.parametrize(
    ("contents", "format"),
    [
        (many(".jpg", 3) | many(".txt", 3), "folder"),
        (many(".jpg", 3), "folder"),
        (many(".jpg", 3) | {"captions.jsonl": ""}, "folder"),
        (many(".jpg", 30) | many(".json", 30) | {"index.html": ""}, "folder"),
        (many(".jpg", 30) | many(".txt", 30) | {"00000.parquet": "", "00000_stats.json": ""}, "folder"),
        ({"00000.tar": "", "00000.parquet": "", "00000_stats.json": "", "README.md": ""}, "webdataset"),
        ({"a.parquet": "", "b.parquet": ""}, "parquet"),
        (many(".jpg", 30) | {"metadata.parquet": ""}, "parquet"),
        (many(".html", 3) | many(".png", 20), "html"),
        ({"a.HTM": "", "README.txt": ""}, "html"),
    ],
)
def test_the_format_is_told_from_the_names_in_the_listing(files, contents, format):
    assert detect(files(contents)) == format


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"a.txt": ""}, "holds no pictures, pages, tables or tar files"),
        ({"a.tar": "", "a.html": ""}, r"holds 1 tar files, 1 web pages: say which to read with --format folder\|"),
        (many(".jpg", 3) | many(".txt", 3) | many(".html", 3), "3 web pages, 3 pictures: say which"),
        ({"a.tar.gz": ""}, "compressed tar files, .* decompress them"),
        ({"a.tgz": ""}, "compressed tar files"),
    ],
)
def test_an_input_that_shows_no_format_or_several_is_refused_with_the_remedy(files, contents, message):
    with pytest.raises(RunError, match=message):
        detect(files(contents))


@pytest.mark.parametrize("format", ["folder", "webdataset", "parquet", "html"])
def test_a_reader_is_made_by_name_with_its_source_and_licence(format):
    reader = make_reader(format, "/nowhere", source="photos", licence="CC0")
    assert (reader.name, reader.source, reader.licence) == (format, "photos", "CC0")


def test_a_reader_is_made_from_the_listing(files):
    assert make_reader("auto", files({"a.jpg": ""}).uri, source="photos").name == "folder"


def test_a_setting_that_the_reader_does_not_have_is_refused(files):
    with pytest.raises(RunError, match="--media-root goes with parquet tables; the input's format is folder"):
        make_reader("folder", "/nowhere", source="photos", media_root="/media")
    with pytest.raises(RunError, match="format 'folders' is unknown; allowed: auto, folder"):
        make_reader("folders", "/nowhere", source="photos")
    with pytest.raises(RunError, match="the html reader has no setting 'caption_column'; it has: source, licence"):
        make_reader("html", "/nowhere", source="photos", caption_column="TEXT")
    reader = make_reader("parquet", "/nowhere", "photos", caption_column="TEXT")
    assert "caption_column='TEXT'" in repr(reader)


def test_tasks_keep_to_both_limits_but_for_one_item_above_them():
    assert list(in_tasks(((i, 1) for i in range(5)), most=2)) == [[0, 1], [2, 3], [4]]
    half = BYTES_A_TASK // 2
    assert list(in_tasks([("a", half), ("b", half), ("c", 1), ("d", 10 * half), ("e", 0)])) == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e"],
    ]
    assert list(in_tasks([])) == []
