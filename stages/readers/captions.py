"""What every reader of image-caption pairs shares: captions and their origin, public addresses, the pair itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from manifests.document import Document, Media, Segment, Source, uid_of
from manifests.errors import RecordError
from stages.readers.base import Candidate, Range

CAPTION_FIELDS = ("caption", "text", "alt", "alt_text", "captions", "TEXT")
URL_FIELDS = ("url", "image_url", "URL")
LICENCE_FIELDS = ("licence", "license")


@dataclass(frozen=True, slots=True)
class CaptionFacts:
    """Where a caption came from. alternatives: every other text that could have been it, by where it stood."""

    chosen: str
    alternatives: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"chosen": self.chosen, "alternatives": dict(self.alternatives)}


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption with what else its record says of the picture."""

    text: str
    facts: CaptionFacts
    url: str | None = None
    licence: str | None = None


def pair(
    key: str,
    source: Source,
    media: Media,
    payload: bytes | Range,
    caption: Caption,
    facts: Mapping[str, Any] | None = None,
) -> Candidate:
    """An image and its caption as a document: the picture first, loss on the caption only."""
    document = Document(
        uid=uid_of(source.name, key),
        source=source,
        segments=(Segment("image", media=media), Segment("text", text=caption.text, loss=True)),
        facts={"caption": caption.facts.to_json(), **(facts or {})},
    )
    return Candidate(document, (payload,))


def numbered(key: str, number: int) -> str:
    """The key of the how many-th caption of one picture: the first has the picture's own."""
    return key if number == 1 else f"{key}\0{number}"


def caption_text(data: bytes, where: str) -> str:
    """Bytes of a caption file as text. RecordError `BadEncoding` where they are not UTF-8, `NoCaption` where blank."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise RecordError("BadEncoding", f"{where} is not UTF-8: {error.reason} at byte {error.start}") from None
    return checked(text, where)


def checked(text: Any, where: str) -> str:
    """A caption that is text and not blank, without white space around it."""
    if text is None:
        raise RecordError("NoCaption", f"{where} is null")
    if not isinstance(text, str):
        raise RecordError("BadCaption", f"{where} is {type(text).__name__}, not text")
    text = text.strip()
    if not text:
        raise RecordError("NoCaption", f"{where} is blank")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RecordError("BadEncoding", f"{where} holds half of a surrogate pair at {error.start}") from None
    return text


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object. RecordError `BadEncoding` or `BadJson`."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RecordError("BadEncoding", f"{where} is not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise RecordError("BadJson", f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RecordError("BadJson", f"{where} is a JSON {type(value).__name__}; expected an object")
    return value


def captions_of(record: Mapping[str, Any], where: str, text: str | None = None) -> list[Caption]:
    """The captions of a picture's JSON record: one, or each distinct one where a field holds a list.

    text: the caption from a file of its own (`.txt`), which then is the only one; the record still gives the picture's
    address and licence. Else the first of CAPTION_FIELDS that is not empty is it. The other fields are alternatives.
    RecordError `NoCaption`, `BadCaption`, `BadEncoding`.
    """
    names = [name for name in CAPTION_FIELDS if record.get(name) not in (None, "", [])]
    if text is None and not names:
        raise RecordError("NoCaption", f"{where} has no text under {', '.join(CAPTION_FIELDS)}")
    chosen, value = ("txt", text) if text is not None else (f"json.{names[0]}", record[names.pop(0)])
    alternatives = {f"json.{name}": record[name] for name in names}
    url, licence = public_url(first_text(record, URL_FIELDS)), first_text(record, LICENCE_FIELDS)
    return captions_from(value, f"{where}: {chosen}", chosen, alternatives, url, licence)


def captions_from(
    value: Any, where: str, chosen: str, alternatives: Mapping[str, Any], url: str | None, licence: str | None
) -> list[Caption]:
    """A caption for each distinct text of a value, which is a text or a list of them; `chosen` names its field."""
    texts = dict.fromkeys(checked(item, where) for item in (value if isinstance(value, list) else [value]))
    if not texts:
        raise RecordError("NoCaption", f"{where} is an empty list")
    others = {name: other.strip() for name, other in alternatives.items() if is_text(other)}
    facts = CaptionFacts(chosen, {name: other for name, other in others.items() if other not in texts})
    return [Caption(text, facts, url, licence) for text in texts]


def public_url(text: str | None) -> str | None:
    """The text where it is a public address; a file's address is none."""
    return text if text is not None and text.lower().startswith(("http://", "https://")) else None


def first_text(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of the named fields that holds text."""
    found = (record.get(name) for name in names)
    return next((value.strip() for value in found if is_text(value)), None)


def is_text(value: Any) -> TypeGuard[str]:
    """Whether it is text that is not blank and that UTF-8 can write: JSON can hold half of a surrogate pair."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
