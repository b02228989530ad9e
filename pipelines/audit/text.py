"""Text from outside, made fit to be shown: short, one line, nothing invisible that moves or hides other text.

Escaping for HTML is Jinja2's; this is for what survives escaping: control characters, terminal escapes, marks that
turn the direction of writing, a megabyte where a line was expected.
"""

import json
import unicodedata
from typing import Any

CAPTION = 180  # characters of a caption that a gallery shows
LINE = 240  # of a message or locator
JOINERS = "\u200c\u200d"  # invisible, but Persian, Indic scripts and emoji are written with them
MARKS = 4  # combining marks on one letter; more only paint over the lines above and below
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode categories that have no picture of their own


def harmless(text: str, limit: int = LINE) -> str:
    """At most `limit` characters of the text on one line; what cannot be seen is spelled as ⟨U+202E⟩."""
    out: list[str] = []
    marks = 0
    shortened = False
    for place, letter in enumerate(text):
        if len(out) >= limit or place > 4 * limit:
            shortened = True
            break
        category = unicodedata.category(letter)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > MARKS:
            continue
        if letter.isspace() and category not in ("Zl", "Zp"):
            if out and out[-1] != " ":
                out.append(" ")
        elif category in HIDDEN and letter not in JOINERS:
            out.append(f"⟨U+{ord(letter):04X}⟩")
        else:
            out.append(letter)
    return "".join(out).strip() + ("…" if shortened else "")


def whole(text: str) -> str:
    """The text as JSON may carry it: lone surrogates, which UTF-8 has no bytes for, are replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def locator_line(locator: str, limit: int = LINE) -> str:
    """A locator (JSON object) as `path: a/b.html · position: 3`, or the text itself where it is not one."""
    try:
        value: Any = json.loads(locator)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return harmless(locator, limit)
    return harmless(" · ".join(f"{key}: {value[key]}" for key in sorted(value)), limit)


def number(value: float | int | None) -> str:
    """A number as people read it: 12,480, 0.0312, 1.5 million is 1,500,000."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


def share(part: int, of: int) -> str:
    """A part as a percentage; never 0 % or 100 % unless it is."""
    if of == 0:
        return "–"
    percent = 100 * part / of
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.1f} %" if percent not in (0.0, 100.0) else f"{percent:.0f} %"


def size(count: int) -> str:
    """Bytes in decimal units."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    minutes = value / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
