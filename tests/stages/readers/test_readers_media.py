"""The bounded cache of picture files, and paths that may not leave the input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import RecordError
from manifests.store import Store
from stages.readers.media import PictureFiles, extension_in, extension_of, join_below_root, read_file


class Counting(Store):
    """A store that counts reads by path."""

    def __init__(self, uri: str):
        super().__init__(uri)
        self.reads: list[str] = []

    def size(self, path: str) -> int | None:
        self.reads.append(path)
        return super().size(path)


def test_a_picture_that_is_used_often_is_read_once_and_so_is_a_missing_one(files):
    store = Counting(files({"logo.png": b"logo"}).uri)
    pictures = PictureFiles(store)
    for _ in range(3):
        assert pictures.get("logo.png")[0] == b"logo"
        with pytest.raises(RecordError, match="MissingFile"):
            pictures.get("none.png")
    assert store.reads == ["logo.png", "none.png"]


def test_what_is_kept_at_hand_is_bounded_and_what_was_used_last_stays(files):
    store = Counting(files({f"{name}.png": bytes(3000) for name in "abcd"}).uri)
    pictures = PictureFiles(store, limit=8000)
    for name in "abacada":
        pictures.get(f"{name}.png")
    assert store.reads == ["a.png", "b.png", "c.png", "d.png"]
    pictures.get("b.png")
    assert store.reads[4:] == ["b.png"]


def test_a_picture_above_the_limit_is_not_read(files):
    with pytest.raises(RecordError, match=r"TooLarge: 'a\.png' has 11 bytes; at most 10"):
        read_file(files({"a.png": bytes(11)}), "a.png", 10)


@pytest.mark.parametrize("path", ["none", "d", "d/", "a.png/x", "", "..", "a\0b", "x" * 300, "//a.png"])
def test_what_is_no_file_is_missing(files, path):
    with pytest.raises(RecordError, match="MissingFile"):
        read_file(files({"a.png": b"x", "d/b.png": b"x"}), path)


@given(
    st.lists(st.sampled_from(["a", "b", ".", "..", ""]), max_size=8).map("/".join), st.sampled_from(["", "a", "a/b"])
)
def test_a_path_never_leaves_the_root(path, folder):
    found = join_below_root(folder, path)
    if found is not None:
        assert ".." not in found.split("/")
    depth = lowest = len(folder.split("/")) if folder else 0
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        lowest = min(lowest, depth)
    assert (found is None) == (lowest < 0)


def test_extensions():
    assert [extension_of(path) for path in ("a/b.JPG", "a.tar.gz", ".hidden", "d.x/a", "a.")] == [
        "jpg",
        "gz",
        "",
        "",
        "",
    ]
    assert [extension_in(data) for data in (b"\xff\xd8\xff\xe0", b"RIFF....WEBPVP8 ", b"?", b"")] == [
        "jpg",
        "webp",
        "bin",
        "bin",
    ]
