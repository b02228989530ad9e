"""How members of tars become samples, in place, whatever their order and whatever else a tar holds."""

import hashlib
import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.document import uid_of
from manifests.errors import RunError
from manifests.store import Store
from stages.readers import webdataset
from stages.readers.base import Range
from stages.readers.webdataset import WebDatasetReader
from tests.stages.readers.output import Output


def tar_of(members, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of (name, content) pairs; a content that is a str is the type of an entry without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = content.encode(), "/etc/passwd"
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def read(files, read_all):
    """read(members): the reader's output for one tar of them; read(bytes) for the bytes of a tar."""

    def run(members, **settings):
        data = members if isinstance(members, bytes) else tar_of(members)
        return read_all(WebDatasetReader("web", **settings), files({"00000.tar": data}))

    return run


def test_a_sample_is_a_document_whose_picture_stays_in_the_tar(files, read_all, picture):
    store = files({"d/00000.tar": tar_of([("x/7.jpg", picture(1)), ("x/7.txt", b"Two cats\n")])})
    (candidate,) = read_all(WebDatasetReader("web"), store).candidates
    document = candidate.document
    assert document.uid == uid_of("web", "x/7")
    assert document.text() == "Two cats"
    assert document.source.locator == {"tar": "d/00000.tar", "member": "x/7"}
    (place,) = candidate.payloads
    assert isinstance(place, Range)
    assert store.read_range(place.path, place.offset, place.size) == picture(1)
    assert document.segments[0].media.sha256 == hashlib.sha256(picture(1)).hexdigest()


def test_what_img2dataset_writes_is_understood(read, picture):
    record = {
        "caption": "two cats", "url": "https://example.org/a.jpg", "key": "000000000", "status": "success",
        "error_message": None, "width": 8, "height": 6, "original_width": 80, "original_height": 60, "exif": "{}",
        "sha256": "0" * 64, "license": "CC BY",
    }  # fmt: skip
    members = [
        ("000000000.jpg", picture()),
        ("000000000.json", json.dumps(record).encode()),
        ("000000000.txt", b"two cats"),
    ]
    document = read(members).documents[0]
    assert (document.source.uri, document.source.licence) == ("https://example.org/a.jpg", "CC BY")
    assert document.facts["caption"] == {"chosen": "txt", "alternatives": {}}


def test_what_datacomp_writes_is_understood(read, picture):
    record = {
        "uid": "ab" * 16,
        "text": "two cats",
        "url": "https://example.org/a.jpg",
        "clip_b32_similarity_score": 0.3,
    }
    document = read([("000.jpg", picture()), ("000.json", json.dumps(record).encode())]).documents[0]
    assert document.text() == "two cats"
    assert document.source.locator["uid"] == "ab" * 16
    assert document.uid == uid_of("web", "000")


def test_several_captions_of_one_record_are_several_documents(read, picture):
    found = read([("0.jpg", picture()), ("0.json", b'{"captions": ["One", "Two"]}')])
    assert found.captions == ["One", "Two"]
    assert found.uids() == [uid_of("web", "0"), uid_of("web", "0\x002")]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("0.txt", b"x"), ("0.json", b"{}")], "NoPicture"),
        ([("0.jpg", b"x")], "NoCaption"),
        ([("0.jpg", b"x"), ("0.json", b'{"url": "x"}')], "NoCaption"),
        ([("0.jpg", b"x"), ("0.txt", b" ")], "NoCaption"),
        ([("0.jpg", b"x"), ("0.txt", b"caf\xe9")], "BadEncoding"),
        ([("0.jpg", b"x"), ("0.txt", b"x"), ("0.json", b"{")], "BadJson"),
        ([("0.jpg", b"x"), ("0.json", b'{"caption": 7}')], "BadCaption"),
    ],
)
def test_a_sample_without_picture_or_caption_is_dead_with_the_reason(read, members, reason):
    found = read([*members, ("1.jpg", b"x"), ("1.txt", b"The next one")])
    assert found.captions == ["The next one"]
    assert [(item.reason, item.key) for item in found.dead] == [(reason, "0")]


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (("../up.jpg", b"x"), "UnsafeName"),
        (("a/../../up.jpg", b"x"), "UnsafeName"),
        (("/etc/up.jpg", b"x"), "UnsafeName"),
        (("caf\udce9.jpg", b"x"), "UnsafeName"),
        (("link.jpg", tarfile.SYMTYPE.decode()), "NotAFile"),
        (("hard.jpg", tarfile.LNKTYPE.decode()), "NotAFile"),
        (("null.jpg", tarfile.CHRTYPE.decode()), "NotAFile"),
        (("pipe.jpg", tarfile.FIFOTYPE.decode()), "NotAFile"),
    ],
)
def test_members_that_must_not_be_followed_are_dead_and_the_rest_is_read(read, member, reason):
    data = tar_of([("0.jpg", b"x"), member, ("0.txt", b"Two cats")], tarfile.GNU_FORMAT)
    found = read(data)
    assert found.captions == ["Two cats"]
    assert [(item.reason, item.locator["member"]) for item in found.dead] == [(reason, member[0])]


def test_folders_hidden_files_and_unknown_members_are_passed_over_and_never_unpickled(read):
    bomb = b"cos\nsystem\n(S'exit 1'\ntR."
    members = [("./d", tarfile.DIRTYPE.decode()), ("./d/._0.jpg", b"x"), ("README", b"x"), (".hidden", b"x")]
    members += [
        ("./d/0.pkl", bomb),
        ("./d/0.pyd", bomb),
        ("./d/0.jpg", b"x"),
        ("./d/0.txt", b"Two cats"),
        ("./d/0.cls", b"3"),
    ]
    found = read(members)
    assert found.uids() == [uid_of("web", "d/0")]
    assert found.dead == []


def test_the_picture_without_a_further_dot_is_the_samples_picture(read):
    found = read([("0.mask.png", b"mask"), ("0.jpg", b"photo"), ("0.webp", b"other"), ("0.txt", b"Two cats")])
    assert found.documents[0].segments[0].media.extension == "jpg"


def test_a_cut_off_tar_gives_the_samples_before_and_one_dead_row(read, picture):
    whole = tar_of(
        [(f"{i}.{kind}", picture(i) if kind == "jpg" else b"Cat") for i in range(4) for kind in ("jpg", "txt")]
    )
    cut = whole[: whole.index(b"2.txt") + 300]
    found = read(cut)
    assert found.uids() == [uid_of("web", "0"), uid_of("web", "1")]
    assert [(item.reason, item.key) for item in found.dead] == [("TruncatedTar", "00000.tar")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "TruncatedTar"), (b"x" * 2000, "BadTar"), (b"\x1f\x8b" + bytes(2000), "CompressedTar")],
)
def test_a_file_that_is_no_tar_is_one_dead_row(read, data, reason):
    assert read(data).reasons == [reason]


def test_a_suffix_that_comes_twice_is_another_sample_with_the_same_key(read):
    found = read([("0.jpg", b"1"), ("0.txt", b"One"), ("0.jpg", b"2"), ("0.txt", b"Two"), ("0.jpg", b"3")])
    assert found.captions == ["One", "Two"]
    assert set(found.uids()) == {uid_of("web", "0")}
    assert [(item.reason, item.key) for item in found.dead] == [("NoCaption", "0")]


def test_equal_samples_of_different_tars_have_equal_uids_and_digests(files, read_all):
    tar = tar_of([("0.jpg", b"1"), ("0.txt", b"One")])
    first, second = read_all(WebDatasetReader("web"), files({"a.tar": tar, "b.tar": tar})).documents
    assert (first.uid, first.digest()) == (second.uid, second.digest())


@given(st.permutations([f"{key}.{kind}" for key in "abc" for kind in ("jpg", "json", "txt", "cls")]))
def test_whatever_the_order_of_its_members_a_tar_has_the_same_samples(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("order")
    content = {"jpg": b"photo", "txt": b"Caption", "json": b'{"url": "https://example.org"}', "cls": b"3"}
    (folder / "0.tar").write_bytes(tar_of([(name, content[name[2:]]) for name in names]))
    found = Output(list(WebDatasetReader("web").read(Store(str(folder)), {"tars": ["0.tar"]})))
    in_order = list(dict.fromkeys(name[0] for name in names))
    assert [document.source.locator["member"] for document in found.documents] == in_order
    assert {document.source.uri for document in found.documents} == {"https://example.org"}
    assert found.dead == []


def test_samples_wait_for_late_members_in_bounded_memory(read, monkeypatch):
    monkeypatch.setattr(webdataset, "WAITING_BYTES", 20_000)
    pictures, texts = [(f"{i:02}.jpg", b"x") for i in range(40)], [(f"{i:02}.txt", b"Two cats") for i in range(40)]
    both = [member for sample in zip(pictures, texts, strict=True) for member in sample]
    assert read(both).captions == ["Two cats"] * 40
    late = read([*pictures[:10], *texts[:10], *both[20:]])
    assert late.captions == ["Two cats"] * 40
    too_late = read([*pictures, *texts])
    assert len(too_late.dead) == 80
    assert set(too_late.reasons) == {"NoCaption", "NoPicture"}


def test_compressed_tars_are_refused_with_the_remedy(files):
    with pytest.raises(RunError, match=r"b\.tar\.gz is compressed .* decompress"):
        list(WebDatasetReader("web").plan(files({"a.tar": b"", "b.tar.gz": b""})))


def test_an_input_without_tars_is_refused(files):
    with pytest.raises(RunError, match=r"no tar files found"):
        list(WebDatasetReader("web").plan(files({"a.txt": b""})))


def test_small_tars_share_a_task(files):
    store = files({f"{i:03}.tar": bytes(10_240) for i in range(30)})
    assert list(WebDatasetReader("web").plan(store)) == [{"tars": [f"{i:03}.tar" for i in range(30)]}]
