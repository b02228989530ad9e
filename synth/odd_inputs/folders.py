"""Folders of pictures with links out, pipes, names of every kind and broken captions; captions files that lie."""

import hashlib
import json
import os
from pathlib import Path

from synth.odd_inputs.parts import BROKEN_CAPTIONS, Odd, put, sound

NAMES = (
    "two words",
    "-rf",
    "quote'\"s",
    "<script>alert(1)<",
    "new\nline",
    "tab\tbed",
    "per%2fcent %00",
    "dot.in.name",
    "back\\slash",
    "e\u0301",
    "\u00e9",
    "日本語",
    "\u202egpj.txt",
    "caf\udce9",
    "n" * 240,
    "$(reboot)",
    "NUL",
)


def folders(folder: Path) -> list[Odd]:
    folder.mkdir(parents=True, exist_ok=True)
    return [odd for make in (names, links, captions) for odd in make(folder)]


def names(folder: Path) -> list[Odd]:
    """File names that some program somewhere takes for something else."""
    found = []
    for number, name in enumerate(NAMES, 100):
        item = sound(number)
        put(folder / "names" / f"{name}.jpg", item.data)
        put(folder / "names" / f"{name}.txt", item.caption)
        found.append(item.kept(f"names/{name}.jpg"))
    for number, name in enumerate(("SHOUTED.JPG", "no-sidecar-stem.jpeg"), 130):
        item = sound(number)
        put(folder / "names" / name, item.data)
        put(folder / "names" / f"{name}.txt", item.caption)
        found.append(item.kept(f"names/{name}"))
    return found


def links(folder: Path) -> list[Odd]:
    """Links in and out, to nowhere and round in a circle; a pipe, a folder called like a picture."""
    place = folder / "links"
    put(place / "good.jpg", sound(140).data)
    put(place / "good.txt", sound(140).caption)
    targets = {
        "inside": "good.jpg",
        "passwords": "/etc/passwd",
        "climbing": "../../../../../../../../etc/passwd",
        "nowhere": "missing.jpg",
        "circle": "circle.jpg",
    }
    for name, target in targets.items():
        (place / f"{name}.jpg").symlink_to(target)
        put(place / f"{name}.txt", f"A picture that is a link, called {name}")
    (place / "everything").symlink_to("/")
    (place / "again").symlink_to(".")
    os.mkfifo(place / "pipe.jpg")
    put(place / "pipe.txt", "A picture that is a pipe")
    put(place / "folder.jpg" / "inside.bin", b"a folder called like a picture")
    return [
        sound(140).kept("links/good.jpg"),
        Odd("links/inside.jpg", "dropped", "A picture that is a link, called inside"),
        Odd("links/passwords.jpg", "LinkOutside"),
        Odd("links/climbing.jpg", "LinkOutside"),
        Odd("links/nowhere.jpg", "MissingFile"),
        Odd("links/circle.jpg", "MissingFile"),
        Odd("links/pipe.jpg", "NotAFile"),
    ]


def captions(folder: Path) -> list[Odd]:
    """Broken captions, pictures without one, captions without a picture, files that are neither."""
    found = []
    for number, (name, (extension, data, reason)) in enumerate(BROKEN_CAPTIONS.items(), 150):
        put(folder / "captions" / f"{name}.jpg", sound(number).data)
        put(folder / "captions" / f"{name}.{extension}", data)
        found.append(Odd(f"captions/{name}.jpg", reason))
    put(folder / "captions" / "only-picture.jpg", sound(180).data)
    put(folder / "captions" / "only-text.txt", "No picture here")
    put(folder / "captions" / "README.txt", "This is no caption")
    put(folder / "captions" / "Thumbs.db", b"neither")
    put(folder / "captions" / "marked.jpg", sound(181).data)
    put(folder / "captions" / "marked.txt", b"\xef\xbb\xbf" + sound(181).caption.encode())
    return [
        *found,
        Odd("captions/only-picture.jpg", "NoCaption"),
        Odd("captions/only-text.txt", "NoPicture"),
        sound(181).kept("captions/marked.jpg"),
    ]


def captions_files(folder: Path) -> list[Odd]:
    """A captions file with lines that climb out of the folder, name nothing, are broken, or come again."""
    items = {f"pictures/{number}.jpg": sound(number) for number in range(200, 203)}
    for path, item in items.items():
        put(folder / path, item.data)
    third = "pictures/202.jpg"
    dead = {
        '{"file_name": "../../etc/passwd", "caption": "Climbs out of the folder"}': "OutsideInput",
        '{"file_name": "/etc/passwd", "caption": "Names a file of the machine"}': "OutsideInput",
        '{"file_name": "pictures/none.jpg", "caption": "Names nothing"}': "MissingFile",
        '{"file_name": "pictures/200.jpg"}': "NoCaption",
        '{"caption": "Names no picture"}': "NoPicture",
        '{"file_name": "pictures/200.jpg", "caption": ': "BadJson",
        '["pictures/200.jpg", "A list"]': "BadJson",
        '{"file_name": "pictures/200.jpg", "caption": {"en": "An object"}}': "BadCaption",
    }
    lines = [json.dumps({"file_name": path, "caption": item.caption}) for path, item in items.items()]
    broken = list(dead)
    order = [lines[0], *broken[:4], lines[1], "", *broken[4:], lines[2], lines[2]]
    put(folder / "captions.jsonl", "\n".join(order) + "\n")
    found = [Odd(f"captions.jsonl\0{digest(line)}", reason) for line, reason in dead.items()]
    again = Odd(third, "repeated", items[third].caption)
    return [*found, again, *(item.kept(path) for path, item in items.items())]


def digest(line: str) -> str:
    """What names a broken line: it has no key of its own."""
    return hashlib.sha256(line.encode()).hexdigest()
