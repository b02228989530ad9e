"""Web pages with scripts, hostile captions, addresses that climb out or lead nowhere, and bytes that are no page."""

import base64
import hashlib
import html
from pathlib import Path

from synth.odd_inputs.parts import Odd, put, sound

HOSTILE = (
    "</figcaption><script>document.title='owned'</script> a caption that closes its element",
    "<img src=x onerror=alert(1)> a caption with an element inside",
    "\"' onmouseover='alert(1)' a caption that ends an attribute",
    "{{ 7 * 7 }} {% include '/etc/passwd' %} a caption for a template",
    "</script></style></title></textarea><!-- a caption that ends everything",
    "=cmd|'/c calc'!A1 a caption for a spreadsheet",
    "\u202eright to left\u202c and \u0007 bell in a caption with marks",
)


def embedded(address: str) -> str:
    """What stands in a key for a picture that lies in the page itself."""
    return "data:" + hashlib.sha256(address.encode()).hexdigest()[:32]


# Addresses of pictures that are not there, not inside, or not whole -> (what stands for it in the key, which use of
# that on the page, class of the dead row).
DEAD_ADDRESSES = {
    "../../secret.png": ("../secret.png", 1, "OutsideInput"),
    "%2e%2e/%2e%2e/secret.png": ("../secret.png", 2, "OutsideInput"),
    "..\\..\\..\\secret.png": ("../secret.png", 3, "OutsideInput"),
    "images/../../../etc/passwd": ("../passwd", 1, "OutsideInput"),
    "missing.png": ("site/missing.png", 1, "MissingFile"),
    "/etc/passwd": ("etc/passwd", 1, "MissingFile"),
    "zero%00byte.png": ("site/zero\0byte.png", 1, "MissingFile"),
    "l" * 5000 + ".png": ("site/" + "l" * 5000 + ".png", 1, "MissingFile"),
    "images": ("site/images", 1, "MissingFile"),
    "data:image/png;base64,AAAAA": (embedded("data:image/png;base64,AAAAA"), 1, "BadAddress"),
}

# Addresses that are on the web or run a program: no documents.
ELSEWHERE = (
    "https://example.org/a.png",
    "//example.org/a.png",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:text/html,<script>alert(1)</script>",
    "ftp://example.org/a.png",
    "",
    "   ",
)

# Encoding of a page -> how the page declares it.
ENCODINGS = {
    "utf-16": "",
    "utf-8-sig": "",
    "cp1252": '<meta charset="iso-8859-1">',
    "cp1250": '<meta charset="cp1250">',
}


def pages(folder: Path) -> list[Odd]:
    folder.mkdir(parents=True, exist_ok=True)
    put(folder / "site/images/a.jpg", sound(300).data)
    odd = hostile(folder) + addresses(folder) + encodings(folder)
    no_pages(folder)
    return odd


def page(*figures: str, head: str = "") -> str:
    body = "\n".join(figures)
    return f"<!DOCTYPE html>\n<html><head>{head}<title>A page</title></head>\n<body>\n{body}\n</body></html>\n"


def image(source: str, alt: str) -> str:
    return f'<p><img src="{html.escape(source)}" alt="{html.escape(alt)}"></p>'


def key(path: str, shown: str, use: int = 1) -> str:
    return f"{path}\0{shown}\0{use}"


def hostile(folder: Path) -> list[Odd]:
    """Captions that try to become code wherever they are shown; scripts on the page are never run."""
    found, figures = [], []
    for number, caption in enumerate(HOSTILE, 310):
        put(folder / f"site/images/{number}.jpg", sound(number).data)
        figures.append(image(f"images/{number}.jpg", f"{caption}, number {number}"))
        found.append(Odd(key("site/hostile.html", f"site/images/{number}.jpg"), "kept", f"{caption}, number {number}"))
    figures.append('<script>document.write(\'<img src="images/a.jpg" alt="Written by a script">\')</script>')
    put(folder / "site/hostile.html", page(*figures, head="<script>while (true) {}</script>"))
    return found


def addresses(folder: Path) -> list[Odd]:
    """Every address that is none of a picture in the input; one page has a base on the web."""
    figures = [image(source, f"A picture at an odd address, number {n}") for n, source in enumerate(DEAD_ADDRESSES)]
    figures += [image(source, f"A picture elsewhere, number {n}") for n, source in enumerate(ELSEWHERE)]
    inside = "data:image/jpeg;base64," + base64.b64encode(sound(330).data).decode()
    figures += [image(inside, sound(330).caption), image("images/a.jpg?size=1#top", sound(300).caption)]
    path = "site/addresses.html"
    put(folder / path, page(*figures))
    base = '<base href="https://example.org/">'
    put(folder / "site/based.html", page(image("images/a.jpg", "A picture of another site"), head=base))
    found = [Odd(key(path, shown, use), reason) for shown, use, reason in DEAD_ADDRESSES.values()]
    return [
        *found,
        sound(330).kept(key(path, embedded(inside))),
        sound(300).kept(key(path, "site/images/a.jpg")),
    ]


def encodings(folder: Path) -> list[Odd]:
    """Pages in other encodings than UTF-8, with and without a word on it, and one that nests very deep."""
    found = []
    for number, (encoding, declared) in enumerate(ENCODINGS.items(), 340):
        path, picture = f"site/{encoding}.html", f"site/images/{number}.jpg"
        caption = f"Käse auf dem Tisch: {sound(number).caption}"
        put(folder / picture, sound(number).data)
        put(folder / path, page(image(f"images/{number}.jpg", caption), head=declared).encode(encoding))
        found.append(Odd(key(path, picture), "kept", caption))
    item = sound(350)
    put(folder / "site/images/350.jpg", item.data)
    put(folder / "site/deep.html", "<div>" * 20_000 + image("images/350.jpg", item.caption))
    return [*found, item.kept(key("site/deep.html", "site/images/350.jpg"))]


def no_pages(folder: Path) -> None:
    """Files that are called pages and hold nothing to read."""
    put(folder / "site/nothing.html", "")
    put(folder / "site/noise.html", bytes(range(256)) * 64)
    put(folder / "site/text.html", "Just words, without an element.")
