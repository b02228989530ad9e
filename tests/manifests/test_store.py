"""One contract, held by folders, memory and a real S3 server."""

import itertools
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import faults
from manifests.errors import RunError, TransientError
from manifests.store import ATTEMPTS, Store

names = itertools.count()

# --- the contract -----------------------------------------------------------------------------------------------------


def test_what_was_put_is_read_whole_and_by_ranges(any_store):
    any_store.put("shards/train-000000.tar", b"0123456789")
    assert any_store.read("shards/train-000000.tar") == b"0123456789"
    assert any_store.size("shards/train-000000.tar") == 10
    assert any_store.read_range("shards/train-000000.tar", 3, 4) == b"3456"
    assert any_store.read_ranges("shards/train-000000.tar", [(8, 2), (0, 1), (4, 0), (0, 10)]) == [
        b"89",
        b"0",
        b"",
        b"0123456789",
    ]
    any_store.put("shards/train-000000.tar", b"")
    assert any_store.read("shards/train-000000.tar") == b"", "put replaces"
    assert any_store.size("shards/train-000000.tar") == 0


def test_a_range_behind_the_end_is_an_error_and_never_fewer_bytes(any_store):
    any_store.put("a", b"0123456789")
    for offset, size in ((5, 6), (10, 1), (100, 1)):
        with pytest.raises(OSError, match=r"ends.*a'"):
            any_store.read_range("a", offset, size)


def test_create_makes_a_file_once(any_store):
    assert any_store.create("receipts/000001.json", b"first") is True
    assert any_store.create("receipts/000001.json", b"second") is False
    assert any_store.create("receipts/000001.json", b"first") is False, "equal bytes or not, somebody else made it"
    assert any_store.read("receipts/000001.json") == b"first"


def test_local_files_are_copied_in(any_store, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.write_bytes(os.urandom(20_000_000))  # goes up to a bucket in parts
    any_store.put("big.tar", scratch)
    assert any_store.read("big.tar") == scratch.read_bytes()
    assert scratch.exists(), "the caller's file stays"
    scratch.write_bytes(b"small")
    assert any_store.create("small", scratch)
    assert not any_store.create("small", scratch)
    assert any_store.read("small") == b"small"
    with pytest.raises(FileNotFoundError):
        any_store.put("x", tmp_path / "absent")


def test_what_is_not_there(any_store):
    any_store.put("folder/file", b"1")
    for path in ("absent", "folder", "folder/absent", "absent/file", "folder/file/below"):
        assert any_store.size(path) is None
        with pytest.raises(FileNotFoundError):
            any_store.read(path)
        with pytest.raises(FileNotFoundError):
            any_store.read_range(path, 0, 1)
        any_store.delete(path)
    assert any_store.read("folder/file") == b"1"


def test_listing_is_sorted_by_path_and_begins_with_the_prefix(any_store):
    paths = ["a-b", "a/b", "a/c/d", "a0", "b", "a.b/c", "é", "z z/%41#~+&=?", "日本", "😀"]
    for path in paths:
        any_store.put(path, path.encode())
    listed = list(any_store.list())
    assert [entry.path for entry in listed] == sorted(paths)
    assert [entry.size for entry in listed] == [len(path.encode()) for path in sorted(paths)]
    assert [entry.path for entry in any_store.list("a/")] == ["a/b", "a/c/d"]
    assert [entry.path for entry in any_store.list("a")] == ["a-b", "a.b/c", "a/b", "a/c/d", "a0"]
    assert [entry.path for entry in any_store.list("a/c/d")] == ["a/c/d"]
    assert list(any_store.list("absent/")) == list(any_store.list("absent")) == []
    for entry in listed:
        assert any_store.read(entry.path) == entry.path.encode()


def test_a_tag_stays_while_the_content_does_and_changes_with_it(any_store):
    any_store.put("a", b"one")
    any_store.put("b", b"other")
    before = list(any_store.list())
    assert list(any_store.list()) == before
    time.sleep(0.05)  # a file system's clock may tick only every hundredth of a second
    any_store.put("a", b"two")
    after = list(any_store.list())
    assert after[0].tag != before[0].tag
    assert after[1] == before[1]


def test_delete_may_be_repeated(any_store):
    any_store.put("a/b/c", b"1")
    any_store.put("a/d", b"1")
    any_store.delete("a/b/c")
    any_store.delete("a/b/c")
    assert [entry.path for entry in any_store.list()] == ["a/d"]
    assert any_store.create("a/b/c", b"2"), "what was deleted can be created again"


def test_a_child_is_the_store_below(any_store):
    any_store.put("work/phase-1/plan.json", b"{}")
    child = any_store.child("work/phase-1/")
    assert child.read("plan.json") == b"{}"
    assert [entry.path for entry in child.list()] == ["plan.json"]
    child.put("x", b"1")
    assert any_store.read("work/phase-1/x") == b"1"
    with pytest.raises(ValueError, match="not a path within"):
        any_store.child("../elsewhere")


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/..", "./a", "a/.", "\0", "a\0b"])
def test_a_path_never_leads_out(any_store, path):
    for call in (any_store.read, any_store.size, any_store.delete):
        with pytest.raises(ValueError, match="not a path within"):
            call(path)
    for write in (any_store.put, any_store.create):
        with pytest.raises(ValueError, match="not a path within"):
            write(path, b"1")
    with pytest.raises(ValueError, match="not a path within"):
        any_store.read_range(path, 0, 1)


def test_a_store_travels_by_its_address(any_store):
    any_store.put("a", b"1")
    twin = pickle.loads(pickle.dumps(any_store))
    assert twin == any_store
    assert hash(twin) == hash(any_store)
    assert twin.read("a") == b"1"
    assert any_store.uri in repr(twin)


def test_threads_share_a_store(any_store):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: any_store.put(f"{n:03d}", b"%d" % n), range(40)))
        assert list(threads.map(lambda n: any_store.read(f"{n:03d}"), range(40))) == [b"%d" % n for n in range(40)]
    assert len(list(any_store.list())) == 40


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_of_many_writers_one_creates(kind, tmp_path):
    store = Store(str(tmp_path) if kind == "local" else f"memory://race-{next(names)}")
    for round_ in range(20):
        together = threading.Barrier(8)

        def write(n, path=f"receipts/{round_}", together=together):
            together.wait()
            return store.create(path, b"%d" % n)

        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(write, range(8)))
        assert won.count(True) == 1
        assert store.read(f"receipts/{round_}") == b"%d" % won.index(True)


def test_a_busy_store_is_tried_again_and_then_given_up(any_store, no_waiting):
    with faults.armed(f"store.*:busy@1x{ATTEMPTS - 1}"):
        any_store.put("a", b"1")
    with faults.armed(f"store.*:busy@1x{ATTEMPTS - 1}"):
        assert any_store.read("a") == b"1"
    with faults.armed(f"store.*:busy@1x{ATTEMPTS - 1}"):
        assert [entry.path for entry in any_store.list()] == ["a"]
    for action in (lambda: any_store.read("a"), lambda: list(any_store.list()), lambda: any_store.create("b", b"1")):
        with faults.armed("store.*:busyx*"), pytest.raises(TransientError, match="503"):
            action()


def test_a_lost_reply_is_told_from_another_writer(any_store, no_waiting):
    with faults.armed("store.create.done:busy"):
        assert any_store.create("a", b"mine"), "the first attempt made it, only its reply was lost"
    with faults.armed("store.create:busy"):
        assert not any_store.create("a", b"other"), "what is there is not what was given"
    assert any_store.read("a") == b"mine"


# --- laws -------------------------------------------------------------------------------------------------------------

PATHS = st.sampled_from(["a", "a-", "b/c", "b/d", "b/e/f", "%20", "g h"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PATHS, st.binary(max_size=8)),
        st.tuples(st.just("create"), PATHS, st.binary(max_size=8)),
        st.tuples(st.just("delete"), PATHS),
    ),
    max_size=20,
)


@pytest.mark.parametrize("kind", ["local", "memory"])
@given(steps=STEPS)
def test_a_store_behaves_as_a_mapping(kind, steps, tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("law")) if kind == "local" else f"memory://law-{next(names)}")
    mapping: dict[str, bytes] = {}
    for action, path, *data in steps:
        if action == "put":
            store.put(path, data[0])
            mapping[path] = data[0]
        elif action == "create":
            assert store.create(path, data[0]) == (path not in mapping)
            mapping.setdefault(path, data[0])
        else:
            store.delete(path)
            mapping.pop(path, None)
        assert {entry.path: store.read(entry.path) for entry in store.list()} == mapping


# --- addresses --------------------------------------------------------------------------------------------------------


def test_addresses_have_one_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store("data/../out/").uri == str(tmp_path / "out")
    assert Store(f"file://{tmp_path}/a%20b").uri == str(tmp_path / "a b")
    assert Store("a%20b").uri == str(tmp_path / "a%20b"), "only a URI is encoded"
    assert Store("memory://x/").uri == "memory://x"
    assert Store("out").root_path() == tmp_path / "out"
    assert Store("memory://x").root_path() is None
    assert Store("s3://bucket/prefix").root_path() is None


@pytest.mark.parametrize("uri", ["hdfs://host/path", "https://host/path", "ftp://x", ""])
def test_an_address_of_no_known_kind_is_refused_with_those_known(uri):
    with pytest.raises(RunError, match="s3"):
        Store(uri)


def test_memory_is_shared_by_name():
    name = f"memory://shared-{next(names)}"
    Store(name).put("a/b", b"1")
    assert Store(f"{name}/a").read("b") == b"1"
    assert Store(f"{name}-other").size("a/b") is None
