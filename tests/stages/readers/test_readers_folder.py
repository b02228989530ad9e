"""Which captions go with which picture of a folder, by sidecar or by captions file, and what is said of the others."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.document import uid_of
from manifests.errors import RunError
from manifests.store import Entry, Store
from stages.readers import captions_file
from stages.readers.folder import FolderReader, sidecar_groups
from tests.stages.readers.output import Output


def lines(*records) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def read(files, read_all, picture):
    """read({path: content}): the reader's output; None stands for a picture of its own."""

    def run(contents, **settings):
        made = {
            path: picture(number) if content is None else content
            for number, (path, content) in enumerate(contents.items())
        }
        return read_all(FolderReader("photos", **settings), files(made))

    return run


def test_a_text_file_beside_a_picture_is_its_caption(read, picture):
    found = read({"cats/a.jpg": None, "cats/a.txt": " Two cats \n"})
    document = found.documents[0]
    assert document.uid == uid_of("photos", "cats/a.jpg")
    assert document.text() == "Two cats"
    assert [(segment.kind, segment.loss) for segment in document.segments] == [("image", False), ("text", True)]
    assert document.segments[0].media.extension == "jpg"
    assert document.source.locator == {"path": "cats/a.jpg"}
    assert document.facts["caption"] == {"chosen": "txt", "alternatives": {}}
    assert found.candidates[0].payloads == (picture(0),)


def test_a_json_file_gives_caption_address_and_licence(read):
    record = {"text": "Two cats", "alt": "cats", "url": "https://example.org/a", "license": "CC0", "width": 3}
    document = read({"a.png": None, "a.json": json.dumps(record)}, licence="MIT").documents[0]
    assert document.text() == "Two cats"
    assert (document.source.uri, document.source.licence) == ("https://example.org/a", "CC0")
    assert document.facts["caption"] == {"chosen": "json.text", "alternatives": {"json.alt": "cats"}}


def test_a_text_file_counts_before_the_json_beside_it(read):
    record = {"caption": "From the record", "url": "file:///home/somebody/a.png"}
    document = read({"a.png": None, "a.txt": "From the text", "a.json": json.dumps(record)}, licence="MIT").documents[0]
    assert document.text() == "From the text"
    assert document.facts["caption"]["alternatives"] == {"json.caption": "From the record"}
    assert (document.source.uri, document.source.licence) == (None, "MIT")


def test_what_utf8_cannot_write_is_left_out_of_a_document(read):
    record = '{"caption": "Two cats", "alt": "\\ud800", "licence": "\\udc00 MIT", "url": "https://e.org/\\ud800"}'
    document = read({"a.png": None, "a.json": record}).documents[0]
    assert (document.source.uri, document.source.licence) == (None, None)
    assert document.facts["caption"]["alternatives"] == {}


def test_sidecars_may_be_named_after_the_whole_file(read):
    found = read({"a.jpg": None, "a.jpg.txt": "The jpg", "a.png": None, "a.png.json": '{"caption": "The png"}'})
    assert found.captions == ["The jpg", "The png"]


def test_pictures_that_share_a_stem_share_its_caption(read):
    assert read({"a.jpg": None, "a.png": None, "a.txt": "Both"}).captions == ["Both", "Both"]


@pytest.mark.parametrize(
    ("sidecars", "reason"),
    [
        ({}, "NoCaption"),
        ({"a.txt": " \n"}, "NoCaption"),
        ({"a.json": '{"width": 3}'}, "NoCaption"),
        ({"a.json": '{"caption": [" "]}'}, "NoCaption"),
        ({"a.txt": b"caf\xe9"}, "BadEncoding"),
        ({"a.txt": "x".encode("utf-16")}, "BadEncoding"),
        ({"a.json": b'{"caption": "caf\xe9"}'}, "BadEncoding"),
        ({"a.json": '{"caption": "\\ud800"}'}, "BadEncoding"),
        ({"a.json": '{"caption": '}, "BadJson"),
        ({"a.json": '["a"]'}, "BadJson"),
        ({"a.json": "[" * 100_000}, "BadJson"),
        ({"a.json": '{"caption": 3}'}, "BadCaption"),
        ({"a.json": '{"caption": {"en": "x"}}'}, "BadCaption"),
    ],
)
def test_a_picture_whose_caption_cannot_be_had_is_dead_with_the_reason(read, sidecars, reason):
    found = read({"a.jpg": None, **sidecars})
    assert found.documents == []
    assert [(item.reason, item.key) for item in found.dead] == [(reason, "a.jpg")]


def test_a_byte_order_mark_is_no_part_of_a_caption(read):
    assert read({"a.jpg": None, "a.txt": b"\xef\xbb\xbfTwo cats"}).captions == ["Two cats"]


def test_a_sidecar_without_a_picture_is_dead_and_other_files_are_passed_over(read):
    others = {
        "README.txt": "x",
        "LICENSE.txt": "x",
        "0_stats.json": "{}",
        "notes.md": "x",
        "run.sh": "x",
        "log.csv": "x",
    }
    found = read({"a.jpg": None, "a.txt": "Two cats", "b.txt": "No picture", **others})
    assert found.captions == ["Two cats"]
    assert [(item.reason, item.key) for item in found.dead] == [("NoPicture", "b.txt")]


def test_an_empty_or_strange_picture_is_passed_on_for_the_decoder_to_judge(read):
    found = read({"a.jpg": b"", "a.txt": "Nothing", "b.svg": "<svg/>", "b.txt": "A drawing"})
    assert [candidate.payloads[0] for candidate in found.candidates] == [b"", b"<svg/>"]


def test_each_line_of_a_captions_file_is_a_document(read):
    found = read(
        {
            "d/captions.jsonl": lines(
                {"file_name": "x/a.jpg", "text": "Two cats", "url": "http://e.org"},
                {"image": "b.jpg", "caption": "A dog"},
            ),
            "d/x/a.jpg": None,
            "d/b.jpg": None,
        }
    )
    assert found.captions == ["Two cats", "A dog"]
    assert found.uids() == [uid_of("photos", "d/x/a.jpg"), uid_of("photos", "d/b.jpg")]
    assert found.documents[0].source.uri == "http://e.org"
    assert found.documents[0].source.locator == {"path": "d/x/a.jpg", "captions": "d/captions.jsonl", "byte": 0}


def test_further_captions_of_a_picture_add_their_number_to_its_key(read):
    records = [
        {"image": "a.jpg", "captions": ["One", "Two", "One"]},
        {"image": "b.jpg", "caption": "Three"},
        {"image": "b.jpg", "caption": "Four"},
        {"image": "b.jpg", "caption": "Three"},
    ]
    found = read({"all.jsonl": lines(*records), "a.jpg": None, "b.jpg": None})
    assert found.captions == ["One", "Two", "Three", "Four", "Three"]
    keys = ["a.jpg", "a.jpg\x002", "b.jpg", "b.jpg\x002", "b.jpg"]
    assert found.uids() == [uid_of("photos", key) for key in keys]
    assert found.documents[4].digest() == found.documents[2].digest()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"image": "../secret.jpg", "caption": "x"}', "OutsideInput"),
        ('{"image": "x/../../secret.jpg", "caption": "x"}', "OutsideInput"),
        ('{"image": "/etc/passwd", "caption": "x"}', "OutsideInput"),
        ('{"image": "no.jpg", "caption": "x"}', "MissingFile"),
        ('{"image": "d", "caption": "x"}', "MissingFile"),
        ('{"image": "a\\u0000.jpg", "caption": "x"}', "MissingFile"),
        ('{"image": "\\ud800.jpg", "caption": "x"}', "MissingFile"),
        ('{"image": "a.jpg"}', "NoCaption"),
        ('{"image": "a.jpg", "caption": null}', "NoCaption"),
        ('{"caption": "x"}', "NoPicture"),
        ('{"image": 7, "caption": "x"}', "NoPicture"),
        ("{", "BadJson"),
        ("7", "BadJson"),
    ],
)
def test_a_line_that_gives_no_document_is_dead_with_the_reason(read, line, reason):
    first = '{"image": "a.jpg", "caption": "Two cats"}\n'
    found = read({"c.jsonl": first + line + "\n\n", "a.jpg": None, "d/x.jpg": None})
    assert found.captions == ["Two cats"]
    assert [(item.reason, item.locator) for item in found.dead] == [
        (reason, {"captions": "c.jsonl", "byte": len(first)})
    ]


def test_equal_bad_lines_are_one_and_the_same_item(read):
    found = read({"c.jsonl": "{\n[\n{\n", "a.jpg": None})
    assert [item.key for item in found.dead][::2] == [found.dead[0].key] * 2
    assert len({item.key for item in found.dead}) == 2


def test_a_jsonl_that_names_no_picture_is_not_a_captions_file(read):
    found = read({"log.jsonl": lines({"time": 3}), "empty.jsonl": "", "a.jpg": None, "b.jpg": None, "b.txt": "A dog"})
    assert found.captions == ["A dog"]
    assert [(item.reason, item.key) for item in found.dead] == [("NoCaption", "a.jpg")]


def test_beside_a_captions_file_sidecars_still_count_and_unlisted_pictures_are_no_items(read):
    found = read(
        {
            "c.jsonl": lines({"image": "a.jpg", "caption": "Listed"}),
            "a.jpg": None,
            "b.jpg": None,
            "b.txt": "Sidecar",
            "b.x.jpg": None,
            "c.jpg": None,
        }
    )
    assert sorted(found.captions) == ["Listed", "Sidecar"]
    assert found.dead == []


def test_pictures_and_captions_with_odd_names_are_found(read):
    names = ["a b", "a%20b", "a#b", "q?", "é中", "new\nline", "caf\udce9", "-rf", "a&b;c"]
    found = read(
        {f"d/{name}{end}": None if end == ".jpg" else f"This is {name!r}" for name in names for end in (".jpg", ".txt")}
    )
    assert sorted(found.captions) == sorted(f"This is {name!r}" for name in names)
    assert len(set(found.uids())) == len(names)
    assert found.dead == []


def test_links_out_of_the_input_are_dead(files, read_all, picture, tmp_path):
    store = files({"a.jpg": picture(), "a.txt": "Two cats", "b.txt": "A secret", "c.jpg": picture()})
    (tmp_path / "secret").write_bytes(picture(5))
    os.symlink(tmp_path / "secret", tmp_path / "input" / "b.jpg")
    os.symlink(tmp_path / "secret", tmp_path / "input" / "c.txt")
    found = read_all(FolderReader("photos"), store)
    assert found.captions == ["Two cats"]
    assert {item.key: item.reason for item in found.dead} == {"b.jpg": "LinkOutside", "c.jpg": "LinkOutside"}


def test_nothing_of_this_machine_is_in_a_document(read, tmp_path):
    found = read({"c.jsonl": lines({"image": "a.jpg", "caption": "x y"}), "a.jpg": None, "b.jpg": None, "b.txt": "z"})
    assert str(tmp_path) not in json.dumps([document.to_json() for document in found.documents])


def test_an_input_without_pictures_is_refused_with_what_was_looked_for(files):
    with pytest.raises(RunError, match=r"no images found under .*\.avif, .*\.jpg"):
        list(FolderReader("photos").plan(files({"a.txt": "x"})))


def test_the_plan_is_stable_and_its_tasks_are_bounded(files, picture):
    store = files({f"{i:04}{end}": "x" for i in range(1500) for end in (".jpg", ".txt")})
    tasks = list(FolderReader("photos").plan(store))
    assert tasks == list(FolderReader("photos").plan(store))
    assert [len(task["files"]) for task in tasks] == [2000, 1000]


def entries(*paths: str) -> list[Entry]:
    return [Entry(path, 1, "") for path in sorted(paths)]


def test_files_of_a_folder_between_a_picture_and_its_sidecar_do_not_part_them():
    groups = sidecar_groups(entries("a.jpg", "a.orig/a.jpg", "a.orig/a.txt", "a.txt", "b.jpg", "b/c/d.jpg", "b/c.jpg"))
    found = sorted([entry.path for entry in group] for group in groups)
    assert found == [["a.jpg", "a.txt"], ["a.orig/a.jpg", "a.orig/a.txt"], ["b.jpg"], ["b/c.jpg"], ["b/c/d.jpg"]]


@given(
    st.sets(st.lists(st.sampled_from(["a", "a.", "a-", "b", "a.b"]), min_size=1, max_size=3).map("/".join), max_size=12)
)
def test_however_folders_are_named_a_picture_stays_with_its_sidecar(stems):
    groups = sidecar_groups(entries(*(f"{stem}.{kind}" for stem in stems for kind in ("jpg", "txt"))))
    at = {entry.path: number for number, group in enumerate(groups) for entry in group}
    assert all(at[f"{stem}.jpg"] == at[f"{stem}.txt"] for stem in stems)
    assert len(at) == 2 * len(stems)


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), st.booleans(), st.sampled_from([3, 17, 41, 64]))
def test_however_a_captions_file_is_cut_its_documents_are_the_same(tmp_path_factory, names, blank, step):
    folder = tmp_path_factory.mktemp("cut")
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(name.encode())
    text = lines(*({"image": f"{name}.jpg", "caption": f"Caption {i}"} for i, name in enumerate(names)))
    (folder / "c.jsonl").write_text(text.replace("\n", "\r\n\n") if blank else text.rstrip("\n"))
    store = Store(str(folder))
    size = store.size("c.jsonl") or 0

    def uids(step: int) -> list[str]:
        parts = ((start, min(start + step, size)) for start in range(0, size, step))
        found = (captions_file.read_captions(store, "c.jsonl", start, end, "photos", None) for start, end in parts)
        return Output([item for items in found for item in items]).uids()

    assert uids(step) == uids(size)
    assert len(uids(step)) == len(names)


def test_a_line_without_end_is_dead_and_the_lines_around_it_live(read, monkeypatch):
    monkeypatch.setattr(captions_file, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(captions_file, "CHUNK_BYTES", 256)
    text = lines(
        {"image": "a.jpg", "caption": "One"},
        {"image": "b.jpg", "caption": "x" * 5000},
        {"image": "a.jpg", "caption": "Two"},
    )
    found = read({"c.jsonl": text, "a.jpg": None, "b.jpg": None})
    assert found.captions == ["One", "Two"]
    assert found.reasons == ["TooLarge"]
