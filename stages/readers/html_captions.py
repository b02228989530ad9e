"""Which text of a page is a picture's caption.

Texts that may be one, in the order in which they are preferred; `caption_texts` finds them, `choose` takes the first
that says something.

    figcaption      <figcaption> of the nearest <figure> around the picture
    caption         the element beside it whose class says caption (Doxygen, DocBook, MediaWiki, WordPress); where the
                    figure around has a title of its own (DocBook), "title: caption", as a reader of the page takes it
    alt             its alternative text
    title           its title attribute
    figure_title    the title of the figure or example around it (DocBook), without "Figure 3.1."
    table_caption   <caption> of the nearest table around it
    diagram_header  the line above a generated diagram (Doxygen: "Inheritance diagram for ...")

A text that says nothing (`image`, `Figure 3`, a file name) is taken only where there is no other: a rule on the caption
then drops the pair, and the ledger shows why. Text without a single letter or digit is no text at all.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from urllib.parse import unquote

from selectolax.lexbor import LexborNode

PREFERRED = ("figcaption", "caption", "alt", "title", "figure_title", "table_caption", "diagram_header")
JOINED = "figure_title+caption"  # how facts name a caption that both texts make

ANCESTORS = 8  # how far up from a picture its figure, table or diagram is looked for
SIBLINGS = 3  # how many elements to either side of it its caption is looked for
FIGURE_CLASSES = frozenset({"figure", "informalfigure", "example", "informalexample", "equation", "thumb"})

LABEL = re.compile(
    r"^(figure|fig|example|table|equation|abbildung|abb|figura|bild|рис|рисунок|図|图|圖)"
    r"\.?\s*(\d|[a-z]\.\d)[\d.\-]*[.:]\s+",
    re.IGNORECASE,
)
WORDS = re.compile(r"\w+")
FILE_NAME = re.compile(r"[\w\-.+%()\[\] ]*\.(jpe?g|png|gif|webp|svg|bmp|tiff?|avif|ico)", re.I)
CAMERA_NAME = re.compile(r"(img|dsc[nf]?|pict?|p|image|screenshot|scan|photo)[-_ ]?\d{3,}[-_ \d]*", re.I)
WORDS_THAT_SAY_NOTHING = """
    a alt alternate alternative an avatar banner bild btn bullet button caption chart description diagram drawing fig
    figure foto full graph graphic home icon illustration image imagen images img info link logo map more next none note
    null of photo photograph pic picture placeholder plot png prev previous screen screencap screenshot shot size spacer
    square text the this thumb thumbnail tip undefined untitled up warning
"""
SAYS_NOTHING = frozenset(WORDS_THAT_SAY_NOTHING.split())


def caption_texts(image: LexborNode, pictures: Mapping[int, int]) -> dict[str, str]:
    """Every text that may be the picture's caption, by where it stands; see the module's text.

    pictures: how many pictures each element of the page holds, as `holders` counts them.
    """
    attributes = image.attributes
    found = {name: collapse(attributes.get(name) or "") for name in ("alt", "title")}
    below, above = image, image.parent
    for _ in range(ANCESTORS):
        if above is None:
            break
        alone = pictures.get(below.mem_id, 1) == 1
        caption = beside(below, pictures) if alone else None
        if caption is not None:
            found.setdefault("caption", text_of(caption))
        for name, text in enclosing(above):
            found.setdefault(name, text)
        below, above = above, above.parent
    return {name: found[name] for name in PREFERRED if any(map(str.isalnum, found.get(name, "")))}


def holders(images: Iterable[LexborNode]) -> Counter[int]:
    """How many of the pictures each element holds, by the element's mem_id; counted up to ANCESTORS above a picture."""
    counts: Counter[int] = Counter()
    for image in images:
        node: LexborNode | None = image
        for _ in range(ANCESTORS + 1):
            if node is None:
                break
            counts[node.mem_id] += 1
            node = node.parent
    return counts


def enclosing(element: LexborNode) -> Iterator[tuple[str, str]]:
    """Captions that one element around a picture gives it."""
    tag, classes = element.tag, class_names(element)
    if tag == "figure":
        caption = element.css_first("figcaption")
        if caption is not None:
            yield "figcaption", text_of(caption)
    elif tag == "table":
        first = next(element.iter(), None)
        if first is not None and first.tag == "caption":
            yield "table_caption", text_of(first)
    elif classes & FIGURE_CLASSES:
        titles = (child for child in element.iter() if "title" in class_names(child))
        yield from (("figure_title", LABEL.sub("", text_of(title), count=1)) for title in islice(titles, 1))
    elif "dyncontent" in classes:
        header = previous_element(element)
        if header is not None and "dynheader" in class_names(header):
            yield "diagram_header", text_of(header).rstrip(": ")


def beside(node: LexborNode, pictures: Mapping[int, int]) -> LexborNode | None:
    """The caption element next to the node among its siblings: after it first, and never past another picture."""
    for step in (next_element, previous_element):
        other = step(node)
        for _ in range(SIBLINGS):
            if other is None or other.mem_id in pictures:
                break
            if any("caption" in name for name in class_names(other)):
                return other
            other = step(other)
    return None


def choose(texts: Mapping[str, str], source: str) -> tuple[str, str] | None:
    """(where it stands, caption) of the preferred text, or None where there is none. source: the picture's address."""
    for name in texts:
        text = texts[name]
        if not says_something(text, source):
            continue
        title = texts.get("figure_title", "")
        if name == "caption" and says_something(title, source) and not alike(title, text):
            return JOINED, f"{title.rstrip(':')}: {text}"
        return name, text
    return next(iter(texts.items()), None)


def alike(one: str, other: str) -> bool:
    """Whether one text only repeats (part of) the other."""
    one, other = one.casefold(), other.casefold()
    return one in other or other in one


def says_something(text: str, source: str) -> bool:
    """Whether a text tells of what is on the picture: more than `image`, a number or the file's name."""
    if FILE_NAME.fullmatch(text) or CAMERA_NAME.fullmatch(text):
        return False
    words = [word for word in WORDS.findall(text.casefold()) if not word.isdigit()]
    if not words or all(word in SAYS_NOTHING for word in words):
        return False
    stem = posixpath.splitext(posixpath.basename(unquote(source)))[0].casefold()
    return text.casefold() != stem or (" " in text and not any(map(str.isdigit, text)))


def collapse(text: str) -> str:
    """White space as a browser shows it: runs of it are one space."""
    return " ".join(text.split())


def text_of(node: LexborNode) -> str:
    return collapse(node.text(separator=""))


def class_names(node: LexborNode) -> set[str]:
    return set((node.attributes.get("class") or "").lower().split())


def next_element(node: LexborNode) -> LexborNode | None:
    found = node.next
    while found is not None and not is_element(found):
        found = found.next
    return found


def previous_element(node: LexborNode) -> LexborNode | None:
    found = node.prev
    while found is not None and not is_element(found):
        found = found.prev
    return found


def is_element(node: LexborNode) -> bool:
    """Not text and not a comment: their names begin with a sign."""
    return (node.tag or "-")[0].isalpha()
