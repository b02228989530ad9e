"""WebDataset tars, each with its own fault; sound samples stand beside the faults."""

import gzip
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from synth.odd_inputs.parts import BROKEN_CAPTIONS, Odd, Sound, sound

Member = tuple[tarfile.TarInfo | str, bytes]

LINKS = {
    "hard.jpg": (tarfile.LNKTYPE, "links/good.jpg"),
    "symbolic.jpg": (tarfile.SYMTYPE, "/etc/passwd"),
    "device.jpg": (tarfile.CHRTYPE, ""),
    "disk.jpg": (tarfile.BLKTYPE, ""),
    "pipe.jpg": (tarfile.FIFOTYPE, ""),
}


def tars(folder: Path) -> list[Odd]:
    folder.mkdir(parents=True, exist_ok=True)
    makers = (names, links, keys, captions, cut_off, no_tars, joined)
    return [odd for make in makers for odd in make(folder)]


def tar_of(path: Path, members: Sequence[Member]) -> None:
    """Members as given, hostile names and all; a TarInfo keeps its type and headers."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        for named, data in members:
            member = tarfile.TarInfo(named) if isinstance(named, str) else named
            if member.isreg():
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def pair(key: str, item: Sound, text: bytes | None = None) -> list[Member]:
    return [(f"{key}.jpg", item.data), (f"{key}.txt", item.caption.encode() if text is None else text)]


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def names(folder: Path) -> list[Odd]:
    """Names that lead out of any folder, one of them only in an extended header; names that are no sample's."""
    hidden = tarfile.TarInfo("innocent.jpg")
    hidden.pax_headers = {"path": "../../in-the-header.jpg"}
    unsafe = ["../up.jpg", "/absolute.jpg", "in/../../out.jpg"]
    members: list[Member] = [*((name, sound(900).data) for name in unsafe), (hidden, sound(900).data)]
    members += [(name, b"x") for name in (".hidden.jpg", "._beside.jpg", "no-extension")]
    tar_of(folder / "names.tar", [*members, *pair("./names/good one", sound(0))])
    with tarfile.open(folder / "bytes.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tarfile.TarInfo("caf\xe9.jpg"))
    found = [Odd(f"names.tar\0{name}", "UnsafeName") for name in (*unsafe, "../../in-the-header.jpg")]
    return [*found, Odd("bytes.tar\0caf\udce9.jpg", "UnsafeName"), sound(0).kept("names/good one")]


def links(folder: Path) -> list[Odd]:
    """Links and devices in the place of pictures."""
    members: list[Member] = [(special("links", tarfile.DIRTYPE), b""), *pair("links/good", sound(1))]
    members += [(special(name, *kind), b"") for name, kind in LINKS.items()]
    tar_of(folder / "links.tar", [*members, ("hard.txt", b"A caption whose picture is a link")])
    found = [Odd(f"links.tar\0{name}", "NotAFile") for name in LINKS]
    return [*found, Odd("hard", "NoPicture"), sound(1).kept("links/good")]


def keys(folder: Path) -> list[Odd]:
    """Keys that come again, in one tar and in the next: the first of them stands."""
    same, taken, twice, other = (sound(number) for number in range(2, 6))
    tar_of(
        folder / "keys-0.tar",
        [*pair("same", same), *pair("taken", taken), *pair("twice", twice), *pair("twice", twice)],
    )
    tar_of(folder / "keys-1.tar", [*pair("same", same), *pair("taken", other)])
    again = [Odd("same", "repeated", same.caption), Odd("twice", "repeated", twice.caption)]
    first = [same.kept("same"), taken.kept("taken"), twice.kept("twice")]
    return [*first, *again, Odd("taken", "DuplicateKey", other.caption)]


def captions(folder: Path) -> list[Odd]:
    """Broken captions, samples that lack something, and samples whose members do not follow one another."""
    members: list[Member] = []
    for name, (suffix, data, _) in BROKEN_CAPTIONS.items():
        members += [(f"{name}.jpg", sound(900).data), (f"{name}.{suffix}", data)]
    marked, apart, beside = sound(6), sound(7), sound(8)
    members += pair("marked", marked, b"\xef\xbb\xbf" + marked.caption.encode())
    mixed = pair("apart", apart), pair("beside", beside)
    members += [mixed[0][0], mixed[1][0], mixed[0][1], mixed[1][1]]
    members += [("only-text.txt", b"No picture"), ("only-picture.jpg", sound(900).data), ("only-class.cls", b"3")]
    tar_of(folder / "captions.tar", members)
    found = [Odd(name, reason) for name, (_, _, reason) in BROKEN_CAPTIONS.items()]
    found += [Odd("only-text", "NoPicture"), Odd("only-picture", "NoCaption"), Odd("only-class", "NoPicture")]
    return [*found, marked.kept("marked"), apart.kept("apart"), beside.kept("beside")]


def cut_off(folder: Path) -> list[Odd]:
    """Tars that end within a member, between two, or before a size that a header promises."""
    found = []
    for number, name in ((10, "within"), (20, "between")):
        items = [sound(number + place) for place in range(3)]
        path = folder / f"cut-{name}.tar"
        tar_of(path, [member for place, item in enumerate(items) for member in pair(f"{name}-{place}", item)])
        with tarfile.open(path) as tar:
            start = tar.getmember(f"{name}-2.jpg").offset
        os.truncate(path, start + (700 if name == "within" else 0))
        found += [items[place].kept(f"{name}-{place}") for place in range(2)]
        found.append(Odd(path.name, "TruncatedTar"))
    huge = tarfile.TarInfo("huge.jpg")
    huge.size = 1 << 40
    (folder / "promise.tar").write_bytes(huge.tobuf(tarfile.GNU_FORMAT) + bytes(512))
    return [*found, Odd("promise.tar", "TruncatedTar")]


def no_tars(folder: Path) -> list[Odd]:
    """Files that are called tars and are none."""
    tar_of(folder / "packed.tar", pair("packed", sound(900)))
    (folder / "packed.tar").write_bytes(gzip.compress((folder / "packed.tar").read_bytes()))
    (folder / "nothing.tar").write_bytes(b"")
    (folder / "words.tar").write_bytes(b"These are words and no tar, at some length. " * 40)
    classes = {"packed.tar": "CompressedTar", "nothing.tar": "TruncatedTar", "words.tar": "BadTar"}
    return [Odd(name, reason) for name, reason in classes.items()]


def joined(folder: Path) -> list[Odd]:
    """Two tars joined into one: what is behind the first one's end is not read, and that is said."""
    parts = []
    for number in (30, 31):
        tar_of(folder / "joined.tar", pair(f"joined-{number}", sound(number)))
        parts.append((folder / "joined.tar").read_bytes())
    (folder / "joined.tar").write_bytes(b"".join(parts))
    return [sound(30).kept("joined-30"), Odd("joined.tar", "BadTar")]
