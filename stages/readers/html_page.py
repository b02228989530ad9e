"""A page's pictures with all that the page says of them: captions, the heading above, the text around.

Pages are parsed as a browser does it, XHTML too: whatever bytes come make some page. That takes native code, hours for
some hundred thousand nested elements, and gigabytes for what a browser must repeat; so it runs in the sandbox, which
imports this file and calls `parse_to_json`.
"""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from encodings import normalize_encoding
from encodings.aliases import aliases
from itertools import islice
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from stages.readers.html_captions import caption_texts, collapse, holders

CONTEXT_CHARACTERS = 300  # of the text on either side of a picture
WINDOW = 3000  # characters of a page's text, white space of its source included, in which those are looked for
TITLE_CHARACTERS = 300

IMAGE_TAG = re.compile(rb"<\s*(img|image)[\s/>]", re.IGNORECASE)
UTF16_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:\-]{2,40})""", re.IGNORECASE)
XML_ENCODING = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:\-]{2,40})["']""")
DECLARED_IN = 2048  # bytes at a page's start in which its encoding is looked for

# What a page may declare, by Python's names. A browser reads Latin-1 and ASCII as windows-1252.
ENCODINGS = """
    utf_8 cp874 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 iso8859_2 iso8859_3 iso8859_4 iso8859_5
    iso8859_6 iso8859_7 iso8859_8 iso8859_10 iso8859_13 iso8859_14 iso8859_15 iso8859_16 koi8_r koi8_u cp866 mac_roman
    cp932 euc_jp iso2022_jp gb18030 big5 big5hkscs cp949
"""
SAME_AS = {
    "latin_1": "cp1252",
    "ascii": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf_16": "utf_8",  # a page whose declaration could be read this far is not in UTF-16
    "utf_16_le": "utf_8",
    "utf_16_be": "utf_8",
}

SELF_CLOSED = re.compile(r"<(script|style|title|textarea|iframe|a|div|span|p|td|i|b|em)\b([^<>]*)/>", re.IGNORECASE)
LICENCE_NAMES = frozenset({"license", "licence", "dc.rights", "dcterms.license"})
NOT_TEXT = ["script", "style", "template"]
HEADINGS = "h1,h2,h3,h4,h5,h6"
MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # characters that Unicode reserves for use inside a program


@dataclass(frozen=True, slots=True)
class PageFacts:
    """Where on its page a picture stands. position: 1 for the first of `pictures`; before, after: the text around."""

    title: str
    language: str
    heading: str
    position: int
    pictures: int
    before: str
    after: str

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class PagePicture:
    """One <img>. source: its src as it stands. captions: texts that may be its caption, preferred ones first."""

    source: str
    captions: Mapping[str, str]
    facts: PageFacts


@dataclass(frozen=True, slots=True)
class Page:
    """What the reader needs of a page. base: of its relative addresses. uri: its public address."""

    base: str
    uri: str | None
    licence: str | None
    pictures: tuple[PagePicture, ...]


def parse_to_json(data: bytes) -> bytes:
    """What the sandbox runs: a page in UTF-8 as JSON, nothing where it holds no picture."""
    page = parse_page(data.decode())
    if page is None:
        return b""
    pictures = [[picture.source, picture.captions, picture.facts.to_json()] for picture in page.pictures]
    return json.dumps([page.base, page.uri, page.licence, pictures]).encode()


def page_from_json(data: bytes) -> Page | None:
    """The page that `parse_to_json` wrote down."""
    if not data:
        return None
    base, uri, licence, pictures = json.loads(data)
    found = (PagePicture(source, captions, PageFacts(**facts)) for source, captions, facts in pictures)
    return Page(base, uri, licence, tuple(found))


def may_hold_pictures(data: bytes) -> bool:
    """Whether a page is worth parsing. It may still hold none: in a comment or a script, a tag is no picture."""
    return IMAGE_TAG.search(data) is not None or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def parse_page(text: str) -> Page | None:
    """The page, or None where it holds no picture."""
    if text[:200].lstrip().startswith("<?xml"):
        text = SELF_CLOSED.sub(r"<\1\2></\1>", text)
    # Elements that touch are words apart in most pages (</td><td>); most pages have a line break there anyway.
    text = text.replace("><", "> <").replace("<br", " <br")
    tree = LexborHTMLParser(text)
    images = [image for image in tree.css("img") if (image.attributes.get("src") or "").strip()]
    if not images:
        return None
    tree.strip_tags(NOT_TEXT)
    counts = holders(images)
    captions = [caption_texts(image, counts) for image in images]
    head = read_head(tree, text)
    pictures = []
    for number, (heading, before, after) in enumerate(surroundings(tree, images, text)):
        facts = PageFacts(head.title, head.language, heading, number + 1, len(images), before, after)
        pictures.append(PagePicture(images[number].attributes.get("src") or "", captions[number], facts))
    return Page(head.base, head.uri, head.licence, tuple(pictures))


def surroundings(tree: LexborHTMLParser, images: list[LexborNode], source: str) -> list[tuple[str, str, str]]:
    """For each picture: the last heading above it, and the text before and after it. Marks are left in the tree.

    One text of the whole page is cut at marks, so that the cost does not grow with the number of pictures:

        … ⟨heading⟩Filters⟨end⟩ Some text ⟨picture⟩ more text ⟨picture⟩ …
    """
    nothing = [("", "", "")] * len(images)
    body = tree.body
    if body is None:
        return nothing
    marks = list(islice((mark for mark in MARKS if mark not in source), 3))
    if len(marks) < 3:
        return nothing
    picture, heading, end = marks
    for image in images:
        image.insert_before(picture)
    for node in tree.css(HEADINGS):
        node.insert_before(heading)
        node.insert_after(end)
    text = body.text(separator="")
    if text.count(picture) != len(images):  # one lies where no text is, or the page wrote a mark as an entity
        return nothing
    return list(cut(text, picture, heading, end))


def cut(text: str, picture: str, heading: str, end: str) -> Iterator[tuple[str, str, str]]:
    """(heading above, text before, text after) for each picture mark in a page's text."""

    def plain(part: str) -> str:
        return collapse(part.replace(picture, " ").replace(heading, " ").replace(end, " "))

    title, start = "", 0
    place = text.find(picture)
    while place >= 0:
        opened = text.rfind(heading, start, place)
        if opened >= 0:
            closed = text.find(end, opened)
            title = plain(text[opened:closed])[:TITLE_CHARACTERS]
        before = plain(text[max(0, place - WINDOW) : place])
        after = plain(text[place + 1 : place + 1 + WINDOW])
        yield title, last_words(before), first_words(after)
        start, place = place, text.find(picture, place + 1)


def last_words(text: str) -> str:
    """The end of a text, at most CONTEXT_CHARACTERS of whole words."""
    return text if len(text) <= CONTEXT_CHARACTERS else text[-CONTEXT_CHARACTERS:].partition(" ")[2]


def first_words(text: str) -> str:
    """The start of a text, at most CONTEXT_CHARACTERS of whole words."""
    return text if len(text) <= CONTEXT_CHARACTERS else text[:CONTEXT_CHARACTERS].rpartition(" ")[0]


def decode(data: bytes) -> str:
    """A page's text: by its byte-order mark, by what it declares, as UTF-8, else as windows-1252."""
    for mark, encoding in UTF16_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    start = data[:DECLARED_IN]
    declared = CHARSET.search(start) or XML_ENCODING.search(start)
    known = None if declared is None else known_encoding(declared[1].decode("ascii", "replace"))
    if known is not None:
        return data.decode(known, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def known_encoding(label: str) -> str | None:
    """Python's name of a declared encoding, or None for what a page cannot be in."""
    name = normalize_encoding(label.lower().removeprefix("x-"))
    name = aliases.get(name, name)
    name = SAME_AS.get(name, name)
    return name if name in ENCODINGS.split() else None


@dataclass(slots=True)
class Head:
    """What a page says of itself."""

    title: str = ""
    language: str = ""
    base: str = ""
    uri: str | None = None
    licence: str | None = None


def read_head(tree: LexborHTMLParser, source: str) -> Head:
    """Title, language, base, canonical address and licence; the first of each counts."""
    head = Head()
    root = tree.css_first("html")
    if root is not None:
        head.language = (root.attributes.get("lang") or root.attributes.get("xml:lang") or "").strip()[:40]
    for node in () if tree.head is None else tree.head.iter():
        attributes = node.attributes
        name = (attributes.get("name") or attributes.get("property") or "").lower()
        relations = (attributes.get("rel") or "").lower().split()
        address = (attributes.get("href") or "").strip()
        if node.tag == "title":
            head.title = head.title or collapse(node.text())[:TITLE_CHARACTERS]
        elif node.tag == "base":
            head.base = head.base or address
        elif node.tag == "meta" and name in LICENCE_NAMES:
            head.licence = head.licence or collapse(attributes.get("content") or "")[:TITLE_CHARACTERS] or None
        elif node.tag == "meta" and name == "og:url":
            head.uri = head.uri or public(attributes.get("content") or "")
        elif node.tag == "link" and "canonical" in relations:
            head.uri = public(address) or head.uri
        elif node.tag == "link" and "license" in relations:
            head.licence = address or head.licence
    if head.licence is None and "license" in source:
        link = tree.css_first('a[rel~="license"]')
        head.licence = None if link is None else (link.attributes.get("href") or "").strip() or None
    return head


def public(address: str) -> str | None:
    """The address where it is one of the web."""
    return address.strip() if address.strip().lower().startswith(("http://", "https://")) else None
