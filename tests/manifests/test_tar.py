"""Tars that we write are read by everybody, tars that anybody wrote are read by us, and hostile ones are told apart."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
from pathlib import Path
from typing import Any

import pytest
import webdataset
from hypothesis import example, given
from hypothesis import strategies as st

from manifests import tar
from manifests.errors import RecordError
from manifests.store import Store
from manifests.tar import Member, Tar, TarWriter, safe_name, scan

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
NAMES = st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=8).map("/".join)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6)


def written(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with TarWriter(buffer) as writer:
        for name, data in members:
            writer.add(name, data)
    return buffer.getvalue()


def scanned(data: bytes) -> list[Member]:
    return list(scan(lambda offset, size: data[offset : offset + size], len(data)))


def members_before_error(data: bytes) -> tuple[list[Member], RecordError | None]:
    found: list[Member] = []
    try:
        for member in scan(lambda offset, size: data[offset : offset + size], len(data)):
            found.append(member)
    except RecordError as error:
        return found, error
    return found, None


# --- writing ----------------------------------------------------------------------------------------------------------


@given(MEMBERS)
@example([("a" * 100, b""), ("a" * 101, b""), ("d" * 155 + "/" + "n" * 100, b"1"), ("d" * 156 + "/n", b"2")])
@example([("é" * 50, b"x" * 512), ("é" * 51, b"x" * 513), ("a" * 60 + "/" + "b" * 60, b"x" * 511)])
@example([("x" * 95 + "/" + "y" * 95 + "/" + "z" * 95, b"")] * 2)
def test_what_we_write_everybody_reads(members):
    buffer = io.BytesIO()
    with TarWriter(buffer) as writer:
        offsets = [writer.add(name, data) for name, data in members]
    data = buffer.getvalue()
    assert len(data) % 10_240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        theirs = [(m.name, m.offset_data, m.size, m.mode, m.mtime, m.uid, m.gid, m.uname, m.gname) for m in archive]
    plain = (0o644, 0, 0, 0, "", "")
    assert theirs == [(name, at, len(body), *plain) for (name, body), at in zip(members, offsets, strict=True)]
    assert [data[at : at + len(body)] for (_, body), at in zip(members, offsets, strict=True)] == [
        b for _, b in members
    ]
    assert scanned(data) == [Member(name, at, len(body)) for (name, body), at in zip(members, offsets, strict=True)]


def test_equal_members_give_equal_bytes_and_headers_name_no_time_or_owner():
    assert written([("a.jpg", b"123")]) == written([("a.jpg", b"123")])
    information = tarfile.TarInfo("a.jpg")
    information.size = 3
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(information, io.BytesIO(b"123"))
    theirs = buffer.getvalue()
    ours = written([("a.jpg", b"123")])
    assert ours[:148] == theirs[:148]
    assert len(ours) == len(theirs) == 10_240


def test_webdataset_reads_a_shard_of_ours(tmp_path):
    uids = [f"{number:032x}" for number in range(3)]
    members = [(f"{uid}.{ending}", f"{uid}{ending}".encode()) for uid in uids for ending in ("jpg", "json", "txt")]
    (tmp_path / "train-000000.tar").write_bytes(written(members))
    samples = list(webdataset.WebDataset(str(tmp_path / "train-000000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == uids
    assert [sample["jpg"] for sample in samples] == [f"{uid}jpg".encode() for uid in uids]
    assert {"jpg", "json", "txt"} <= samples[0].keys()


def test_a_tar_left_by_an_exception_is_whole_to_no_reader():
    buffer = io.BytesIO()
    writer = TarWriter(buffer)
    with contextlib.suppress(RuntimeError), writer:
        writer.add("a.jpg", b"123")
        raise RuntimeError
    writer.close()
    data = buffer.getvalue()
    with pytest.raises(ValueError, match="closed"):
        writer.add("b.jpg", b"")
    found, error = members_before_error(data)
    assert [member.name for member in found] == ["a.jpg"]
    assert error is not None
    assert error.reason == "TruncatedTar"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive, pytest.raises(tarfile.ReadError, match="unexpected end"):
        archive.getmembers()


def test_an_unsafe_name_is_never_written():
    writer = TarWriter(io.BytesIO())
    for name in ("", "/etc/passwd", "../x", "a/../../x", "a\0b", "\udcff"):
        assert not safe_name(name)
        with pytest.raises(ValueError, match="no safe name"):
            writer.add(name, b"")
    assert all(map(safe_name, ["a", "a/b.jpg", "./a", "..a", "a..", "a b", "é", "\\", "-rf"]))


# --- scanning what others wrote ---------------------------------------------------------------------------------------


def from_tarfile(members: list[tuple[str, bytes]], format_: int, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_, **options) as archive:
        for name, data in members:
            information = tarfile.TarInfo(name)
            information.size = len(data)
            information.mtime = 1_700_000_000.25 if format_ == tarfile.PAX_FORMAT else 1_700_000_000
            archive.addfile(information, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("format_", ["gnu", "pax"])
@given(members=MEMBERS)
@example(members=[("n" * 300, b"1"), ("d/" * 120 + "n", b"2"), ("é" * 80, b"3"), ("short", b"x" * 5000)])
def test_what_tarfile_writes_we_read(format_, members):
    data = from_tarfile(members, FORMATS[format_])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert scanned(data) == [Member(m.name, m.offset_data, m.size) for m in archive]
    assert [member.name for member in scanned(data)] == [name for name, _ in members]


@given(st.lists(st.tuples(NAMES.filter(lambda name: len(name.encode()) <= 100), st.binary(max_size=1500)), max_size=6))
def test_what_tarfile_writes_as_ustar_we_read(members):
    data = from_tarfile(members, tarfile.USTAR_FORMAT)
    found = scanned(data)
    assert [(m.name, data[m.offset : m.offset + m.size]) for m in found] == members


def test_common_pax_records_hold_for_all_members():
    data = from_tarfile([("a", b"1"), ("b", b"2")], tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 600})
    assert [member.name for member in scanned(data)] == ["a", "b"]


def test_the_older_v7_form_is_read():
    header = bytearray(tar._header(b"old.jpg", 3))
    header[156:] = bytes(356)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    folder = bytearray(header)
    folder[:100] = b"folder/".ljust(100, b"\0")
    folder[124:136] = b"0".rjust(11) + b" "  # spaces for zeros, as it had them
    folder[148:156] = b" " * 8
    folder[148:156] = b"%o\0" % sum(folder) + b" " * 3
    data = bytes(folder) + bytes(header) + b"123" + bytes(509) + bytes(1024)
    assert scanned(data) == [Member("folder", 512, 0, "folder"), Member("old.jpg", 1024, 3)]


def test_checksums_added_up_with_signs_hold_too():
    header = bytearray(tar._header("é.jpg".encode(), 0))
    signed = sum(byte - 256 if byte > 127 else byte for byte in header[:148] + b" " * 8 + header[156:])
    header[148:156] = b"%06o\0 " % signed
    assert [member.name for member in scanned(bytes(header) + bytes(1024))] == ["é.jpg"]


def test_sizes_in_binary_and_in_pax_are_understood():
    binary = bytearray(tar._header(b"a", 0))
    binary[124:136] = b"\x80" + (3).to_bytes(11)
    binary[148:156] = b" " * 8
    binary[148:156] = b"%06o\0 " % sum(binary)
    record = tar._pax_record(b"size", b"3")
    pax = tar._header(b"x", len(record), b"x") + record + bytes(512 - len(record)) + tar._header(b"b", 0)
    body = b"123" + bytes(509)
    data = bytes(binary) + body + pax + body + bytes(1024)
    assert scanned(data) == [Member("a", 512, 3), Member("b", 2560, 3)]


def test_what_is_no_plain_file_is_named_and_never_followed(tmp_path):
    buffer = io.BytesIO()
    kinds = {
        "link": (tarfile.SYMTYPE, "symbolic link"),
        "hard": (tarfile.LNKTYPE, "hard link"),
        "null": (tarfile.CHRTYPE, "device"),
        "disk": (tarfile.BLKTYPE, "device"),
        "pipe": (tarfile.FIFOTYPE, "pipe"),
        "folder": (tarfile.DIRTYPE, "folder"),
        "volume": (b"V", "other"),
        "file": (tarfile.CONTTYPE, "file"),
    }
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, (kind, _) in kinds.items():
            information = tarfile.TarInfo(name)
            information.type, information.linkname = kind, "/etc/passwd" * (kind in (b"1", b"2")) * 20
            archive.addfile(information)
        archive.addfile(tarfile.TarInfo("after"))
    found = {member.name: member for member in scanned(buffer.getvalue())}
    assert {name: member.kind for name, member in found.items()} == {name: k for name, (_, k) in kinds.items()} | {
        "after": "file"
    }
    assert all(member.size == 0 for member in found.values())
    Store(str(tmp_path)).put("links.tar", buffer.getvalue())
    assert Tar(Store(str(tmp_path)), "links.tar").payload(found["link"]) == b""


def test_sparse_files_are_named_and_what_follows_is_found():
    header = bytearray(tar._header(b"sparse", 512, b"S"))
    header[482] = 1  # its map goes on in another block, and another
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more, last = bytearray(512), bytes(512)
    more[504] = 1
    data = bytes(header) + bytes(more) + last + b"x" * 512 + tar._header(b"after", 0) + bytes(1024)
    assert scanned(data) == [Member("sparse", 1536, 512, "sparse file"), Member("after", 2560, 0)]
    record = tar._pax_record(b"GNU.sparse.major", b"1") + tar._pax_record(b"GNU.sparse.name", b"real name")
    pax = (
        tar._header(b"x", len(record), b"x") + record + bytes(512 - len(record)) + tar._header(b"GNUSparseFile.0/x", 0)
    )
    assert scanned(pax + bytes(1024)) == [Member("real name", 1536, 0, "sparse file")]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "\udcff\udcfe.jpg", "C:\\x", "./a.jpg"]
)
def test_names_are_reported_as_they_are(name):
    data = from_tarfile([(name, b"1"), ("after", b"2")], tarfile.GNU_FORMAT, errors="surrogateescape")
    assert [member.name for member in scanned(data)] == [name, "after"]


def test_a_zero_byte_in_a_pax_name_is_reported_and_unsafe():
    record = tar._pax_record(b"path", b"a.jpg\0.exe")
    data = tar._header(b"x", len(record), b"x") + record + bytes(512 - len(record)) + tar._header(b"a", 0) + bytes(1024)
    (member,) = scanned(data)
    assert member.name == "a.jpg\0.exe"
    assert not safe_name(member.name)


# --- broken and hostile -----------------------------------------------------------------------------------------------

THREE = [("a.jpg", b"x" * 700), ("b.jpg", b"y" * 1500), ("c.jpg", b"z")]


@given(st.integers(0, 10_239))
def test_cut_anywhere_the_members_before_are_found(size):
    data = written(THREE)
    whole = scanned(data)
    found, error = members_before_error(data[:size])
    end = whole[-1].offset + 512
    assert found == [member for member in whole if member.offset + member.size <= size][: len(found)]
    assert len(found) == sum(member.offset + member.size <= size for member in whole)
    if size >= end + 512:
        assert error is None, "one block of zeros is an end"
    else:
        assert error is not None
        assert error.reason == "TruncatedTar"
        assert f"byte {size:,}" in error.message


@given(st.data())
def test_a_damaged_header_ends_the_scan_with_its_place(data):
    whole = bytearray(written(THREE))
    members = scanned(bytes(whole))
    number = data.draw(st.integers(0, 2))
    at = members[number].offset - 512
    place = data.draw(st.integers(0, 511))
    whole[at + place] ^= data.draw(st.integers(1, 255))
    found, error = members_before_error(bytes(whole))
    if error is None:
        assert 148 <= place < 156, "only the checksum field itself has spellings that mean the same"
    else:
        assert found == members[:number]
        assert (error.reason, f"byte {at:,}" in error.message) == ("BadTar", True)


@given(st.binary(max_size=3000))
@example(b"\x89PNG\r\n\x1a\n" + bytes(1000))
@example(b"PK\x03\x04" + bytes(2000))
def test_what_is_no_tar_is_told_so(data):
    found, error = members_before_error(data)
    if data[:512] != bytes(512):
        assert error is not None
        assert (found, error.reason in ("BadTar", "TruncatedTar", "CompressedTar")) == ([], True)


@given(st.lists(st.tuples(st.integers(0, 6143), st.integers(0, 255)), max_size=12))
def test_no_damage_does_more_than_end_the_scan(changes):
    data = bytearray(from_tarfile([("n" * 150, b"x" * 600), ("b", b"y"), ("c" * 120, b"z")], tarfile.GNU_FORMAT))
    for place, value in changes:
        data[place] = value
    for at in range(0, 6144, 512):  # checksums that hold, so that the damage gets through to the fields
        if any(at <= place < at + 512 for place, _ in changes):
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    found, _ = members_before_error(bytes(data))
    assert all(0 < member.offset <= member.offset + member.size <= len(data) for member in found)


@pytest.mark.parametrize(
    ("name", "compress"),
    [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)],
)
def test_a_compressed_tar_is_refused_with_the_remedy(name, compress):
    found, error = members_before_error(compress(written(THREE)))
    assert found == []
    assert error is not None
    assert error.reason == "CompressedTar"
    assert f"compressed with {name}" in error.message
    assert "decompress it first" in error.message


def test_tars_joined_together_are_not_read_half_in_silence():
    found, error = members_before_error(written(THREE) + written([("d.jpg", b"1")]))
    assert [member.name for member in found] == ["a.jpg", "b.jpg", "c.jpg"]
    assert error is not None
    assert error.reason == "BadTar"
    assert "10,240" in error.message


def test_a_bomb_of_a_name_is_refused_before_it_is_read():
    data = tar._header(b"././@LongLink", 8**11 - 1, b"L") + bytes(1024)
    _, error = members_before_error(data)
    assert error is not None
    assert error.reason == "BadTar"
    for malformed in (b"path=x\n", b"9999 path=x\n", b"3 =\n", b"-5 path=x\n", b"10 path=xyz"):
        record = malformed.ljust(512, b" ")
        _, error = members_before_error(tar._header(b"x", len(malformed), b"x") + record + bytes(1024))
        assert error is not None
        assert error.reason == "BadTar", malformed
    record = tar._pax_record(b"size", b"9" * 30)
    _, error = members_before_error(
        tar._header(b"x", len(record), b"x") + record.ljust(512, b"\0") + tar._header(b"a", 0) + bytes(1024)
    )
    assert error is not None
    assert error.reason == "BadTar"


# --- over a store -----------------------------------------------------------------------------------------------------


class CountingStore(Store):
    """Says how many bytes were asked for, in how many requests."""

    requests = 0
    fetched = 0

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        self.requests += 1
        self.fetched += size
        return super().read_range(path, offset, size)


def test_in_order_every_byte_is_fetched_once(any_store):
    payload = {f"{number:06d}.jpg": bytes([number % 251]) * 3000 for number in range(4000)}
    any_store.put("a.tar", written(list(payload.items())))
    store = CountingStore(any_store.uri)
    opened = Tar(store, "a.tar")
    assert {member.name: opened.payload(member) for member in opened} == payload
    assert store.fetched == opened.size
    assert store.requests == -(-opened.size // tar.WINDOW)
    members = list(opened)
    assert [opened.payload(member) for member in members[::-50]] == [payload[m.name] for m in members[::-50]]


def test_large_payloads_that_nobody_wants_are_passed_over(tmp_path):
    size = 3 * tar.WINDOW
    (tmp_path / "a.tar").write_bytes(written([(f"{n}.mp4", bytes(size)) for n in range(5)]))
    store = CountingStore(str(tmp_path))
    opened = Tar(store, "a.tar")
    assert [member.size for member in opened] == [size] * 5
    assert store.fetched < 2 * tar.WINDOW
    assert opened.payload(next(iter(opened))) == bytes(size)


def test_a_tar_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Tar(Store(str(tmp_path)), "absent.tar")
    (tmp_path / "empty.tar").write_bytes(b"")
    with pytest.raises(RecordError, match="TruncatedTar"):
        list(Tar(Store(str(tmp_path)), "empty.tar"))
    assert Path(tmp_path / "empty.tar").exists()
