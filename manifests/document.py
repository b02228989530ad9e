"""The one type that flows through the whole house.

An image-caption pair, a web page, a book chapter, a clip, a chat and an RL problem are all a Document:
a list of segments (text, image, video) with provenance and facts. Media bytes are not inside: a segment names
them by SHA-256, and an index says where they lie.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from manifests.regions import Region

Kind = Literal["text", "image", "video"]
TextFormat = Literal["plain", "markdown", "latex", "html"]
Role = Literal["none", "system", "user", "assistant", "observation"]


@dataclass(frozen=True, slots=True)
class Media:
    """Names the original bytes of a picture or clip.

    sha256: 64 lower-case hex digits of the bytes as they came. size: bytes.
    extension: lower case, without the dot, as the source named it (`jpg`); the content may disagree.
    """

    sha256: str
    size: int
    extension: str

    @classmethod
    def of(cls, data: bytes, extension: str) -> "Media":
        return cls(hashlib.sha256(data).hexdigest(), len(data), extension.lower().lstrip("."))


@dataclass(frozen=True, slots=True)
class Segment:
    """One run of text, one image or one clip, in reading order.

    loss: whether a trainer takes loss on it. span: (start, end) in seconds where it has a time.
    Text segments have `text` and `format`; image and video segments have `media` and may have `regions`.
    """

    kind: Kind
    text: str | None = None
    format: TextFormat = "plain"
    media: Media | None = None
    role: Role = "none"
    loss: bool = False
    span: tuple[float, float] | None = None
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "text") != (self.text is not None) or (self.kind == "text") != (self.media is None):
            raise ValueError(f"a {self.kind} segment has text={self.text is not None}, media={self.media is not None}")

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"kind": self.kind, "role": self.role, "loss": self.loss}
        if self.text is not None:
            out |= {"text": self.text, "format": self.format}
        if self.media is not None:
            out["media"] = {
                "sha256": self.media.sha256,
                "bytes": self.media.size,
                "extension": self.media.extension,
            }
        if self.span is not None:
            out["span"] = list(self.span)
        if self.regions:
            out["regions"] = [region.to_json() for region in self.regions]
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Segment":
        media = value.get("media")
        span = value.get("span")
        return cls(
            kind=value["kind"],
            text=value.get("text"),
            format=value.get("format", "plain"),
            media=None if media is None else Media(media["sha256"], media["bytes"], media["extension"]),
            role=value.get("role", "none"),
            loss=value.get("loss", False),
            span=None if span is None else (span[0], span[1]),
            regions=tuple(Region.from_json(region) for region in value.get("regions", ())),
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Where a document came from: never a path of this machine.

    name: the source's name (`--source`, else the input's last path part). uri: a public address, where one is known.
    locator: how to find it inside the source (path, page, member, position), JSON scalars only.
    """

    name: str
    uri: str | None = None
    locator: Mapping[str, str | int] = field(default_factory=dict)
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """uid, parents, source, segments and facts; see the module's text.

    uid: 32 hex digits. parents: uids of what it was derived from. facts: namespace -> JSON object.
    """

    uid: str
    source: Source
    segments: tuple[Segment, ...]
    parents: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def media(self) -> Iterator[tuple[int, Media]]:
        """(segment number, media) of every image and video segment, in order."""
        for number, segment in enumerate(self.segments):
            if segment.media is not None:
                yield number, segment.media

    def text(self) -> str:
        """All text segments, joined by one newline: an image-caption pair's caption."""
        return "\n".join(segment.text for segment in self.segments if segment.text is not None)

    def digest(self) -> str:
        """32 hex digits over what the document says (segments, parents, facts), not over where it was found."""
        content = {"segments": [s.to_json() for s in self.segments], "parents": self.parents, "facts": self.facts}
        return hashlib.sha256(canonical_json(content)).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        source = {
            "name": self.source.name,
            "uri": self.source.uri,
            "locator": dict(self.source.locator),
            "licence": self.source.licence,
        }
        return {
            "uid": self.uid,
            "parents": list(self.parents),
            "source": source,
            "segments": [segment.to_json() for segment in self.segments],
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Document":
        source = value["source"]
        return cls(
            uid=value["uid"],
            parents=tuple(value.get("parents", ())),
            source=Source(source["name"], source.get("uri"), source.get("locator", {}), source.get("licence")),
            segments=tuple(Segment.from_json(segment) for segment in value["segments"]),
            facts=value.get("facts", {}),
        )


def uid_of(source_name: str, key: str) -> str:
    """The first 128 bits, as hex, of SHA-256(source name, a zero byte, key).

    Lone surrogates (names that are not UTF-8 on disk) are kept apart from one another.
    """
    text = f"{source_name}\0{key}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def canonical_json(value: Any) -> bytes:
    """One spelling for one value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
        "utf-8", "backslashreplace"
    )
