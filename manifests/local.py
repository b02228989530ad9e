"""The local file system as a store: reads confined to one folder, writes that appear whole or not at all.

Done with the operating system's own calls: a general object store library refuses a whole listing for one name that is
not UTF-8 or holds a newline, follows links out of the folder, and does not wait for the disk. Here names are whatever
the disk holds (undecodable bytes as lone surrogates, as Python does), a link that leads out is never followed, and
what was written is on the disk before its name exists.
"""

import builtins
import contextlib
import errno
import fcntl
import io
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from manifests import faults
from manifests.errors import RecordError, RunError

PARTIAL = ".winnow-partial-"  # in front of names of files that are still being written; never listed
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
SETTLES = os.environ.get("WINNOW_FSYNC") != "0"  # tests go without: they kill processes, not machines
TRIES = 100  # of a write whose folder is removed by somebody else in the same moment

Found = tuple[str, int, str]  # path, size, tag


class LocalFiles:
    """One folder. Paths are relative to it, with slashes, already checked to have no `..`."""

    def __init__(self, root: str):
        self.root = os.path.realpath(root)

    def read(self, path: str) -> bytes:
        with io.FileIO(self._open(path)) as file:
            return file.readall()

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Each may come out shorter where the file ends."""
        handle = self._open(path)
        try:
            return [_read_at(handle, offset, size) for offset, size in ranges]
        finally:
            os.close(handle)

    def size(self, path: str) -> int | None:
        try:
            handle = self._open(path)
        except FileNotFoundError:
            return None
        try:
            return os.fstat(handle).st_size
        finally:
            os.close(handle)

    def put(self, path: str, data: bytes | Path) -> None:
        self._write(path, data, _replace)

    def create(self, path: str, data: bytes | Path) -> bool:
        return self._write(path, data, _link)

    def delete(self, path: str) -> None:
        """Also removes the folders that this leaves empty: a store has no empty folders."""
        folder, _, name = path.rpartition("/")
        try:
            with self._folder(folder) as handle:
                os.unlink(name, dir_fd=handle)
        except (FileNotFoundError, IsADirectoryError):
            return
        while folder:
            try:
                os.rmdir(os.path.join(self.root, folder))
            except OSError:
                return  # it holds something, or somebody else was faster
            folder = folder.rpartition("/")[0]

    def list(self, prefix: str, after: str = "") -> Iterator[Found]:
        """Files below the folder, in the order of their paths' characters; folders are read as they are reached."""
        folder, _, start = prefix.rpartition("/")
        waiting = self._children(folder, start)
        while waiting:
            path = waiting.pop()
            if path.endswith("/"):
                waiting += self._children(path[:-1], "")
            else:
                yield from self._found(path)

    def sweep(self, prefix: str) -> int:
        """Removes what killed writers left half written; living writers hold a lock on theirs. Returns how many."""
        removed = 0
        folders = [prefix.rstrip("/")]
        while folders:
            folder = folders.pop()
            names = self._names(folder)
            folders += [_join(folder, name[:-1]) for name in names if name.endswith("/")]
            for name in names:
                if name.startswith(PARTIAL):
                    removed += self._sweep_one(folder, name)
        return removed

    def _sweep_one(self, folder: str, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError), self._folder(folder) as directory:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=directory)
                return True
            except OSError:
                return False  # its writer lives, or this file system knows no locks
            finally:
                os.close(handle)
        return False

    def _children(self, folder: str, start: str) -> builtins.list[str]:
        """Paths in a folder whose name starts so, last first, folders with a slash at the end. Empty where none is."""
        names = [name for name in self._names(folder) if name.startswith(start) and not name.startswith(PARTIAL)]
        names.sort(reverse=True)
        return [_join(folder, name) for name in names]

    def _names(self, folder: str) -> builtins.list[str]:
        try:
            with self._folder(folder) as handle, os.scandir(handle) as entries:
                return [entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries]
        except FileNotFoundError:
            if not folder and os.path.exists(self.root):
                raise RunError(f"{self.root} is a file; give the folder that holds it") from None
            return []

    def _found(self, path: str) -> Iterator[Found]:
        """The file with its size and tag, unless it has just gone. What cannot be read is listed too, with size 0."""
        folder, _, name = path.rpartition("/")
        try:
            try:
                facts = os.lstat(os.path.join(self.root, path))
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                with self._folder(folder) as handle:
                    facts = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISLNK(facts.st_mode):
            try:
                handle = self._open(path)
                facts = os.fstat(handle)
                os.close(handle)
            except (OSError, RecordError, RunError):
                pass
        if stat.S_ISREG(facts.st_mode):
            yield path, facts.st_size, f"{facts.st_size}-{facts.st_mtime_ns}"
        else:
            yield path, 0, f"unreadable-{facts.st_mtime_ns}"

    def _open(self, path: str) -> int:
        """A handle to read a regular file of this folder.

        FileNotFoundError also for a folder. RecordError `LinkOutside` or `NotAFile`: a device or pipe is never read.
        """
        handle = self._descend(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            mode = os.fstat(handle).st_mode
            if stat.S_ISDIR(mode):
                raise FileNotFoundError(errno.ENOENT, "is a folder, not a file", f"{self.root}/{path}")
            if not stat.S_ISREG(mode):
                raise RecordError("NotAFile", f"{path!r} is a device, pipe or socket")
        except BaseException:
            os.close(handle)
            raise
        return handle

    @contextlib.contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        """A handle of a folder, whose parts must be real folders or links that stay within."""
        handle = self._descend(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            yield handle
        finally:
            os.close(handle)

    def _descend(self, path: str, flags: int) -> int:
        full = os.path.join(self.root, path) if path else self.root
        try:
            handle = os.open(full, flags)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return self._descend_stepwise(path, flags)
            if error.errno in ABSENT:
                raise FileNotFoundError(errno.ENOENT, "no such file", full) from None
            if error.errno == errno.ENXIO:  # a socket
                raise RecordError("NotAFile", f"{path!r} is a device, pipe or socket") from None
            raise
        place = _place(handle)
        if place != self.root and not place.startswith(self.root.rstrip("/") + "/"):
            os.close(handle)
            raise RecordError("LinkOutside", f"{path!r} is, or lies behind, a link that leads out of {self.root}")
        return handle

    def _descend_stepwise(self, path: str, flags: int) -> int:
        """For paths that the system cannot take at once. No link is followed."""
        handle = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        *folders, last = path.split("/")
        try:
            for name in folders:
                below = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                os.close(handle)
                handle = below
            return os.open(last, flags | os.O_NOFOLLOW, dir_fd=handle)
        except OSError as error:
            if error.errno in (*ABSENT, errno.ENAMETOOLONG):
                raise FileNotFoundError(errno.ENOENT, "no such file", f"{self.root}/{path}") from None
            raise
        finally:
            os.close(handle)

    def _write(self, path: str, data: bytes | Path, publish: Callable[[int, str, str], bool]) -> bool:
        """Writes beside the final name, waits for the disk, then gives it its name in one step."""
        folder, _, name = path.rpartition("/")
        for _ in range(TRIES):
            try:
                with self._folder(folder) as directory:
                    return _write_into(directory, name, data, publish)
            except FileNotFoundError:
                if isinstance(data, Path) and not data.exists():
                    raise
                self._make(folder)
        raise OSError(errno.EBUSY, "its folder is removed again and again", f"{self.root}/{path}")

    def _make(self, folder: str) -> None:
        """Makes a folder, unless somebody removes it, or one above it, in the same moment."""
        full = os.path.join(self.root, folder)
        try:
            os.makedirs(full, exist_ok=True)
        except FileNotFoundError:
            pass
        except FileExistsError:
            if os.path.lexists(full) and not os.path.isdir(full):
                raise NotADirectoryError(errno.ENOTDIR, "a file or link is where a folder is needed", full) from None


def _write_into(directory: int, name: str, data: bytes | Path, publish: Callable[[int, str, str], bool]) -> bool:
    partial = PARTIAL + secrets.token_hex(8)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(partial, "wb", buffering=0, opener=lambda path, _: os.open(path, flags, 0o666, dir_fd=directory)) as file:
        try:
            with contextlib.suppress(OSError):  # some network file systems know no locks: see sweep
                fcntl.flock(file, fcntl.LOCK_EX)
            if isinstance(data, Path):
                with data.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            _settle(file.fileno())
            faults.point("store.partial")
            made = publish(directory, partial, name)
            with contextlib.suppress(OSError):  # some file systems cannot do this to a folder
                _settle(directory)
            return made
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=directory)


def _settle(handle: int) -> None:
    """Waits until the disk has it: a receipt must never outlive a loss of power that its data did not."""
    if SETTLES:
        os.fsync(handle)


def _replace(directory: int, partial: str, name: str) -> bool:
    os.replace(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
    return True


def _link(directory: int, partial: str, name: str) -> bool:
    """Gives the file its name unless that is taken: the one step that decides between two writers."""
    try:
        os.link(partial, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        # On a network file system the reply to a link that was made can be lost, and its repetition says "exists".
        return os.stat(partial, dir_fd=directory).st_nlink == 2
    except OSError as error:
        if error.errno in NO_LINKS:
            raise RunError(
                f"{_place(directory)} is on a file system without hard links, so that two workers could both believe "
                "to have written a file first: give a folder on another file system"
            ) from None
        raise
    return True


def _read_at(handle: int, offset: int, size: int) -> bytes:
    data = os.pread(handle, size, offset)
    while len(data) < size:  # one call gives at most 2 GiB
        more = os.pread(handle, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _place(handle: int) -> str:
    """The real path of an open file, links resolved."""
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(handle, 50, bytes(1024)).rstrip(b"\0"))  # F_GETPATH
    return os.readlink(f"/proc/self/fd/{handle}")


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
