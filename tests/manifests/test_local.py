"""Folders: any name, no link out, nothing half written, and what the system refuses."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from manifests import faults, local
from manifests.errors import RecordError, RunError
from manifests.store import Store

ROOT = Path(__file__).parents[2]

ODD = [
    "with space.jpg",
    "100%.jpg",
    "%2e%2e.jpg",
    "#1.jpg",
    "~tilde.jpg",
    "back\\slash.jpg",
    "new\nline.jpg",
    "-rf.jpg",
    ".hidden.jpg",
    "..twodots.jpg",
    "quote'\".jpg",
    "\x7f\x01.jpg",
    "e\u0301.jpg",
    "\u202egpj.jpg",
    "\udcff\udcfe.jpg",  # bytes that are not UTF-8
    "x" * 251 + ".jpg",
    "a b/#/100%/deep.jpg",
]


def test_any_name_that_a_disk_holds_is_listed_and_read(tmp_path):
    for number, name in enumerate(ODD):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    store = Store(str(tmp_path))
    listed = [entry.path for entry in store.list()]
    assert sorted(listed) == sorted(ODD)
    assert listed == sorted(listed)
    assert [store.read(name) for name in ODD] == [b"%d" % number for number in range(len(ODD))]
    assert [store.size(name) for name in ODD] == [len(str(number)) for number in range(len(ODD))]


def test_folders_deeper_than_a_path_may_be_long(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("leaf.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    store = Store(str(tmp_path))
    (entry,) = store.list()
    assert len(entry.path) > 6000
    assert store.read(entry.path) == b""
    assert store.size(entry.path) == 0
    subprocess.run(["rm", "-r", str(tmp_path / ("d" * 200))], check=True)  # what Python's own cleaning cannot


def test_names_that_cannot_be_are_absent(tmp_path):
    store = Store(str(tmp_path))
    for path in ("x" * 300, "/".join(["x" * 300] * 30), "y/" * 3000 + "z"):
        assert store.size(path) is None
        with pytest.raises(FileNotFoundError):
            store.read(path)
    with pytest.raises(ValueError, match="surrogates"):
        store.read("\ud800")


@pytest.fixture
def linked(tmp_path):
    """A folder with every kind of thing that is no plain file, beside one that it must not show."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.jpg").write_bytes(b"secret")
    inside = tmp_path / "input"
    (inside / "real").mkdir(parents=True)
    (inside / "real" / "file.jpg").write_bytes(b"inside")
    (inside / "out.jpg").symlink_to(secret / "key.jpg")
    (inside / "up.jpg").symlink_to("../secret/key.jpg")
    (inside / "folder-out").symlink_to(secret)
    (inside / "in.jpg").symlink_to("real/file.jpg")
    (inside / "folder-in").symlink_to("real")
    (inside / "loop").symlink_to(".")
    (inside / "self.jpg").symlink_to("self.jpg")
    (inside / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(inside / "pipe.jpg")
    (inside / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(inside / "socket.jpg"))
    return Store(str(inside))


def test_links_are_followed_only_within_the_folder(linked):
    for path in ("out.jpg", "up.jpg", "folder-out/key.jpg", "device.jpg"):
        with pytest.raises(RecordError) as raised:
            linked.read(path)
        assert raised.value.reason == "LinkOutside", path
        with pytest.raises(RecordError):
            linked.size(path)
    assert linked.read("in.jpg") == linked.read("folder-in/file.jpg") == linked.read("loop/real/file.jpg") == b"inside"
    for path in ("self.jpg", "dangling.jpg"):
        with pytest.raises(FileNotFoundError):
            linked.read(path)


def test_pipes_and_sockets_are_never_read(linked):
    for path in ("pipe.jpg", "socket.jpg"):
        with pytest.raises(RecordError) as raised:
            linked.read(path)
        assert raised.value.reason == "NotAFile", path


def test_what_cannot_be_read_is_listed_so_that_it_can_be_reported(linked):
    found = {entry.path: entry for entry in linked.list()}
    links = {"out.jpg", "up.jpg", "folder-out", "in.jpg", "folder-in", "loop", "self.jpg", "dangling.jpg", "device.jpg"}
    assert set(found) == links | {"real/file.jpg", "pipe.jpg", "socket.jpg"}
    assert found["in.jpg"].size == 6
    assert all(found[path].size == 0 for path in found if path not in ("in.jpg", "real/file.jpg"))
    with pytest.raises(RecordError, match="leads out"):
        list(linked.list("folder-out/"))


def test_nothing_is_written_through_a_link_that_leads_out(linked, tmp_path):
    for write in (linked.put, linked.create):
        with pytest.raises(RecordError, match="leads out"):
            write("folder-out/new", b"1")
    with pytest.raises(RecordError, match="leads out"):
        linked.delete("folder-out/key.jpg")
    linked.put("out.jpg", b"replaced")
    assert (tmp_path / "secret" / "key.jpg").read_bytes() == b"secret", "the link is replaced, not what it names"
    assert linked.read("out.jpg") == b"replaced"


def test_a_root_that_is_itself_a_link_is_the_users_own_choice(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"1")
    (tmp_path / "root").symlink_to("real")
    assert Store(str(tmp_path / "root")).read("a") == b"1"


def test_a_root_that_is_a_file_is_refused_and_one_that_is_not_there_is_empty(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(RunError, match="is a file; give the folder"):
        list(Store(str(tmp_path / "file")).list())
    assert list(Store(str(tmp_path / "absent")).list()) == []


def test_files_get_the_permissions_of_the_users_mask(tmp_path):
    before = os.umask(0o027)
    try:
        Store(str(tmp_path)).create("a", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_delete_leaves_no_empty_folders_and_writers_do_not_mind(tmp_path):
    store = Store(str(tmp_path / "root"))

    def churn(n):
        for _ in range(60):
            assert store.create(f"a/b/c/{n}", b"1")
            store.delete(f"a/b/c/{n}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(churn, range(4)))
    assert list(tmp_path.rglob("*")) == [tmp_path / "root"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    store = Store(str(tmp_path))
    store.put("a", b"1")
    (tmp_path / "link").symlink_to("nowhere")
    for path, culprit in (("a/b", "a"), ("a/b/c", "a"), ("link/b", "link")):
        with pytest.raises(NotADirectoryError, match=f"{tmp_path}/{culprit}"):
            store.put(path, b"1")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("operation", ["put", "create"])
def test_a_writer_killed_in_the_middle_leaves_nothing_to_be_seen(tmp_path, operation):
    store = Store(str(tmp_path))
    code = f"from manifests.store import Store; Store({str(tmp_path)!r}).{operation}('shards/a.tar', b'x' * 1000)"
    killed = run_python(code, WINNOW_FAULTS="store.partial:kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(store.list()) == []
    assert store.size("shards/a.tar") is None
    assert len(list((tmp_path / "shards").iterdir())) == 1, "its half is still on the disk"
    assert store.create("shards/a.tar", b"again")
    assert store.sweep() == 1
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["a.tar"]


def test_a_sweep_spares_living_writers(tmp_path):
    store = Store(str(tmp_path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(store.put, "a/big", pipe)
        with pipe.open("wb") as slow:
            slow.write(b"first ")
            slow.flush()
            while not (tmp_path / "a").exists() or not list((tmp_path / "a").iterdir()):
                time.sleep(0.001)
            assert store.sweep() == 0
            assert [entry.path for entry in store.list("a/")] == [], "half a file is not listed"
            slow.write(b"second")
        writing.result()
    assert store.read("a/big") == b"first second"


def test_a_full_disk_stops_the_run_and_names_what_could_not_be_written(tmp_path):
    code = f"""
        import resource
        from manifests.store import Store
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        store = Store({str(tmp_path)!r})
        store.put("small", b"x" * 1000)
        try:
            store.put("shards/a.tar", b"x" * 1001)
        except Exception as error:
            print(type(error).__name__, error)
    """
    done = run_python(code)
    assert done.stdout.startswith(f"RunError {tmp_path}/shards/a.tar cannot be written: file too large; free some")
    assert [entry.path for entry in Store(str(tmp_path)).list()] == ["small"]
    assert list((tmp_path / "shards").iterdir()) == [], "what was written of it gives its space back"
    with faults.armed("store.put:full"), pytest.raises(RunError, match="no space left on device; free some space"):
        Store(str(tmp_path)).put("x", b"1")


@pytest.fixture
def open_folder():
    """A folder that every user may enter; those above tmp_path are for one."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_refused_permission_is_named_with_the_remedy(open_folder):
    locked = open_folder / "locked"
    locked.mkdir()
    (locked / "a").write_bytes(b"1")
    (open_folder / "locked.jpg").write_bytes(b"1")
    (open_folder / "locked.jpg").chmod(0)
    locked.chmod(0)
    open_folder.chmod(0o555)
    code = f"""
        import os
        from manifests.store import Store
        store = Store({str(open_folder)!r})
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        for action in (lambda: store.read("locked.jpg"), lambda: list(store.list()), lambda: store.read("locked/a"),
                       lambda: store.put("locked/b", b""), lambda: store.put("new", b"")):
            try:
                print("no error", action())
            except Exception as error:
                print(type(error).__name__, error)
    """
    try:
        lines = run_python(code).stdout.splitlines()
    finally:
        open_folder.chmod(0o755)
        locked.chmod(0o755)
    remedy = "permission denied; give this user access to it, or run as one who has it"
    assert lines == [
        f"RunError {open_folder}/{path}: {remedy}" for path in ("locked.jpg", "locked", "locked/a", "locked", "new")
    ]


def test_of_many_processes_one_creates(tmp_path):
    code = f"""
        import sys
        from manifests.store import Store
        store = Store({str(tmp_path)!r})
        sys.stdin.readline()
        print(*[n for n in range(40) if store.create(f"receipts/{{n}}", b"1")])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    workers = [subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, text=True) for _ in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    won = sorted(int(n) for worker in workers for n in worker.communicate()[0].split())
    assert won == list(range(40)), "each receipt was made by exactly one"


def test_a_file_system_without_hard_links_is_refused_with_the_remedy(tmp_path, monkeypatch):
    def link(*names, **folders):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(RunError, match=f"{tmp_path} is on a file system without hard links.*give a folder on another"):
        Store(str(tmp_path)).create("a", b"1")
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_reply_a_network_lost_was_ours(tmp_path, monkeypatch):
    real = os.link

    def link(*names, **folders):
        real(*names, **folders)
        raise FileExistsError(errno.EEXIST, "File exists")  # what the repeated request is told

    monkeypatch.setattr(os, "link", link)
    assert Store(str(tmp_path)).create("a", b"1")
    assert Store(str(tmp_path)).read("a") == b"1"


@pytest.mark.parametrize("operation", ["put", "create"])
def test_the_disk_has_the_bytes_before_the_name_exists(tmp_path, monkeypatch, operation):
    """Or a loss of power could leave a receipt whose bytes never reached the disk."""
    real, named = os.fsync, []

    def fsync(handle):
        named.append((tmp_path / "a").exists())
        real(handle)

    monkeypatch.setattr(local, "SETTLES", True)
    monkeypatch.setattr(os, "fsync", fsync)
    getattr(Store(str(tmp_path)), operation)("a", b"1")
    assert named == [False, True], "the file first, then the folder that names it"
