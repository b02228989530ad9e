"""Parquet tables with holes, paths that climb out, keys that come again, and files that are no table."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.odd_inputs.parts import Odd, put, sound

SCHEMA = pa.schema([("key", pa.string()), ("image", pa.binary()), ("caption", pa.string())])


def tables(folder: Path) -> list[Odd]:
    folder.mkdir(parents=True, exist_ok=True)
    return holes(folder) + keys(folder) + paths(folder) + no_tables(folder)


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, rows_a_group: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=rows_a_group)


def row(key: str, number: int) -> dict[str, Any]:
    return {"key": key, "image": sound(number).data, "caption": sound(number).caption}


def holes(folder: Path) -> list[Odd]:
    """Rows without a picture or a caption, in between of whole ones."""
    rows = [
        row("whole-0", 400),
        {**row("no-picture", 900), "image": None},
        {**row("no-caption", 900), "caption": None},
        {**row("blank", 900), "caption": " \n"},
        row("whole-1", 401),
    ]
    write(folder / "holes.parquet", rows)
    found = [Odd("no-picture", "NoPicture"), Odd("no-caption", "NoCaption"), Odd("blank", "NoCaption")]
    return [*found, sound(400).kept("whole-0"), sound(401).kept("whole-1")]


def keys(folder: Path) -> list[Odd]:
    """Keys that come again in one table: the first stands."""
    rows = [row("same", 402), row("taken", 403), row("same", 402), row("taken", 404)]
    write(folder / "keys.parquet", rows)
    again = [Odd("same", "repeated", sound(402).caption), Odd("taken", "DuplicateKey", sound(404).caption)]
    return [sound(402).kept("same"), sound(403).kept("taken"), *again]


def paths(folder: Path) -> list[Odd]:
    """A table of paths, some of which climb out of the input, name nothing, or lie on the web."""
    put(folder / "pictures/here.jpg", sound(405).data)
    dead = {
        "../../etc/passwd": "OutsideInput",
        "/etc/passwd": "OutsideInput",
        "pictures/none.jpg": "MissingFile",
        "https://example.org/a.jpg": "NotDownloaded",
        "pictures": "MissingFile",
    }
    rows = [{"image_path": path, "caption": f"A path that leads to {path}"} for path in dead]
    rows.append({"image_path": "pictures/here.jpg", "caption": sound(405).caption})
    write(folder / "paths.parquet", rows, pa.schema([("image_path", pa.string()), ("caption", pa.string())]))
    return [Odd(f"{path}\0A path that leads to {path}", reason) for path, reason in dead.items()] + [
        sound(405).kept(f"pictures/here.jpg\0{sound(405).caption}")
    ]


def no_tables(folder: Path) -> list[Odd]:
    """Files that are called tables and are none, or only part of one."""
    put(folder / "words.parquet", "These are words.")
    put(folder / "nothing.parquet", b"")
    write(folder / "cut.parquet", [row("cut", 900)])
    put(folder / "cut.parquet", (folder / "cut.parquet").read_bytes()[:-20])
    write(folder / "torn.parquet", [row(f"torn-{number}", 410 + number) for number in range(6)])
    data = bytearray((folder / "torn.parquet").read_bytes())
    start = pq.read_metadata(folder / "torn.parquet").row_group(1).column(1).data_page_offset
    data[start : start + 40] = b"\xff" * 40
    put(folder / "torn.parquet", bytes(data))
    found = [Odd(f"{name}.parquet\0None", "BadTable") for name in ("words", "nothing", "cut")]
    kept = [sound(410 + number).kept(f"torn-{number}") for number in range(3)]
    return [*found, *kept, Odd("torn.parquet\x001", "BadTable")]
