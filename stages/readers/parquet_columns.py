"""Which column of a table is the picture, the caption, the key: by the names that data sets use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from manifests.errors import RunError

BYTES_NAMES = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "image_data", "img", "picture")
PATH_NAMES = ("image_path", "image", "file_name", "filename", "file", "path", "filepath", "img_path", "img", "picture")
CAPTION_NAMES = ("caption", "text", "alt", "alt_text", "captions", "description")
KEY_NAMES = ("uid", "key", "__key__")
URL_NAMES = ("url", "image_url")
LICENCE_NAMES = ("licence", "license")


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a table's columns, None where there is none. picture_kind: what the picture column holds."""

    picture: str
    picture_kind: Literal["bytes", "struct", "path"]
    caption: str
    key: str | None
    url: str | None
    licence: str | None
    alternatives: tuple[str, ...] = ()  # other columns that could have been the caption

    def names(self) -> list[str]:
        found = (self.picture, self.caption, self.key, self.url, self.licence, *self.alternatives)
        return list(dict.fromkeys(name for name in found if name is not None))

    def value(self, role: Literal["key", "url", "licence"], values: Mapping[str, Any]) -> Any:
        """A row's value in one of the columns that may be absent; None also where it is empty."""
        name = getattr(self, role)
        found = None if name is None else values.get(name)
        return None if found == "" else found

    def payload(self, values: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
        """(bytes, path) of a row's picture, either of which may be missing."""
        found = values.get(self.picture)
        if self.picture_kind == "struct":
            found = found or {}
            return found.get("bytes"), found.get("path")
        return (None, found) if self.picture_kind == "path" else (found, None)

    @property
    def extension(self) -> str | None:
        """The picture format that the picture column is named after."""
        name = self.picture.lower()
        return {"jpg": "jpg", "jpeg": "jpg", "png": "png", "webp": "webp"}.get(name)


def find_columns(schema: pa.Schema, path: str, named: Mapping[str, str | None]) -> Columns:
    """The columns of a table. named: those that a setting names, by role. RunError with the remedy."""
    for role, name in named.items():
        if name is not None and name not in schema.names:
            raise RunError(f"{path} has no column {name!r} ({role}_column); its columns: {', '.join(schema.names)}")
    lower = {name.lower(): name for name in reversed(schema.names)}

    def first(role: str, names: tuple[str, ...]) -> str | None:
        return named.get(role) or next((lower[name] for name in names if name in lower), None)

    url = first("url", URL_NAMES)
    picture = find_picture(schema, named.get("picture"), lower)
    if picture is None and url is not None:
        raise RunError(
            f"{path} has addresses (column {url!r}) but no pictures, and Winnow does not download: "
            "download them first, with img2dataset, and give its output folder as --input"
        )
    if picture is None:
        raise RunError(
            f"{path} has no column of pictures; looked for bytes under {', '.join(BYTES_NAMES)} and for paths under "
            f"{', '.join(PATH_NAMES)}; its columns: {', '.join(schema.names)}"
        )
    captions = [lower[name] for name in CAPTION_NAMES if name in lower]
    caption = named.get("caption") or next(iter(captions), None)
    if caption is None:
        raise RunError(
            f"{path} has no column of captions; looked for {', '.join(CAPTION_NAMES)}; rename one of its columns: "
            f"{', '.join(schema.names)}"
        )
    others = tuple(name for name in captions if name != caption and name != picture[0])
    key, licence = first("key", KEY_NAMES), first("licence", LICENCE_NAMES)
    return Columns(picture[0], picture[1], caption, key, url, licence, others)


def find_picture(
    schema: pa.Schema, named: str | None, lower: Mapping[str, str]
) -> tuple[str, Literal["bytes", "struct", "path"]] | None:
    """(name, kind) of the picture column: the named one, else bytes before paths."""
    if named is not None:
        kind = kind_of(schema.field(named).type)
        if kind is None:
            raise RunError(f"column {named!r} is {schema.field(named).type}; expected bytes, a path or {{bytes, path}}")
        return named, kind
    kinds = {name: kind_of(schema.field(lower[name]).type) for name in lower}
    for name in BYTES_NAMES:
        if kinds.get(name) in ("bytes", "struct"):
            return lower[name], kinds[name] or "bytes"
    return next(((lower[name], "path") for name in PATH_NAMES if kinds.get(name) == "path"), None)


def kind_of(type_: pa.DataType) -> Literal["bytes", "struct", "path"] | None:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_struct(type_):
        return "struct" if "bytes" in {type_.field(i).name for i in range(type_.num_fields)} else None
    if any(test(type_) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)):
        return "bytes"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "path"
    return None
