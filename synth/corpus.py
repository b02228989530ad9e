"""Renders a corpus of pictures with captions in which every fourth item is wrong on purpose, and says what.

Item i of seed s is always the same, whatever the number of items and the layout. In every run of 50 items each defect
of `DEFECTS` stands once; what the recipe `image-text-light` should do with it stands beside it. The same items come in
four layouts, one for each reader: web pages, a folder with sidecars, WebDataset tars as img2dataset writes them, and a
Parquet table.
"""

import html
import io
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from manifests.tar import TarWriter
from synth.pictures import KINDS, shade

Outcome = Literal["kept", "dropped", "dead", "one of"]

CYCLE = 50
CAPTION_CYCLES = 12  # the common caption returns so often before another one takes its place
CAPTIONS_KEPT = 10  # of one text; the recipe's duplicate.caption.keep
PICTURES_A_PAGE = 12
PICTURES_A_TAR = 200

CAPTIONS_ELSEWHERE = {
    "de": "Ein altes Fischerboot liegt bei Ebbe im Hafen, dahinter stehen die Häuser der Stadt",
    "fr": "Une vieille barque de pêche repose dans le port à marée basse, derrière elle les maisons de la ville",
    "es": "Una vieja barca de pesca descansa en el puerto con la marea baja, detrás están las casas del pueblo",
    "ru": "Старая рыбацкая лодка лежит в гавани во время отлива, за ней стоят дома города",
    "el": "Μια παλιά ψαρόβαρκα στο λιμάνι με την άμπωτη, πίσω της τα σπίτια της πόλης",
    "zh": "退潮时，一条旧渔船停在港口里，后面是城里的房子，天空很蓝",
    "ja": "引き潮の港に古い漁船が横たわり、その後ろに町の家々が並んでいる",
    "ar": "قارب صيد قديم في الميناء عند الجزر وخلفه بيوت المدينة",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One picture with its caption.

    number: its place in the corpus. extension: as the file is named. pixels: of the picture. language: of the caption.
    defect: a key of DEFECTS, or empty. outcome, reason: what `image-text-light` does with it; `one of`: of the items
    with the same `cluster` one is kept and the others are dropped for the reason.
    """

    number: int
    data: bytes
    extension: str
    caption: str
    pixels: int
    language: str = "en"
    defect: str = ""
    outcome: Outcome = "kept"
    reason: str = ""
    cluster: int | None = None

    @property
    def stem(self) -> str:
        return f"{self.number:06d}"


@dataclass(frozen=True, slots=True)
class Planted:
    """What should become of one document. key: what its uid is made from, with the source's name; else as in Item."""

    key: str
    defect: str
    outcome: Outcome
    reason: str
    language: str
    cluster: int | None = None


def items(number: int, seed: int = 0) -> Iterator[Item]:
    """The first `number` items. They are made one after the other: memory does not grow with their number."""
    before: Item | None = None
    for place in range(number):
        rng = random.Random(f"{seed}:{place}")
        item = sound(rng, place)
        plant = DEFECTS.get(PLACES.get(place % CYCLE, ""))
        if plant is not None:
            item = replace(plant(rng, item, before or item), defect=PLACES[place % CYCLE])
        before = item
        yield item


def sound(rng: random.Random, number: int) -> Item:
    """A picture that every default lets through: large enough, of a usual shape, with a caption of its own."""
    short = rng.randint(232, 360)
    long = short * rng.randint(100, 160) // 100
    width, height = (long, short) if rng.random() < 0.7 else (short, long)
    picture, shown = KINDS[number % len(KINDS)](rng, width, height)
    caption = f"{shown[0].upper()}{shown[1:]}, plate {number} of the collection"
    data, extension = encode(rng, picture)
    return Item(number, data, extension, caption, width * height)


def encode(rng: random.Random, picture: Image.Image, kind: str | None = None) -> tuple[bytes, str]:
    """File bytes and extension: JPEG mostly, else PNG or WebP."""
    kind = kind or rng.choices(["JPEG", "PNG", "WEBP"], [6, 3, 1])[0]
    out = io.BytesIO()
    match kind:
        case "JPEG":
            picture.save(out, kind, quality=rng.randint(70, 95))
        case "WEBP":
            picture.save(out, kind, quality=80, method=0)
        case "PNG":
            picture.save(out, kind, compress_level=3)
        case _:
            picture.save(out, kind)
    return out.getvalue(), {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}[kind]


# What is wrong on purpose. Each takes the sound item of its place and the item before it, which is sound too.


def same_pair(rng: random.Random, item: Item, before: Item) -> Item:
    return replace(before, number=item.number, outcome="one of", reason="duplicate.pair.choose", cluster=before.number)


def same_picture(rng: random.Random, item: Item, before: Item) -> Item:
    """Its caption has fewer words than the other's, so the other is kept."""
    caption = f"Once more: plate {before.number}"
    return replace(before, number=item.number, caption=caption, outcome="dropped", reason="duplicate.image.choose")


def common_caption(rng: random.Random, item: Item, before: Item) -> Item:
    """A caption that returns; `settled` says which of its pictures are dropped."""
    round_ = item.number // (CYCLE * CAPTION_CYCLES)
    return replace(item, caption=f"A picture from series {round_} of the collection, without a text of its own")


def one_colour(rng: random.Random, item: Item, before: Item) -> Item:
    colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
    return drawn(rng, item, Image.new("RGB", (320, 240), colour), "PNG", "image.solid_share.max")


def little_to_see(rng: random.Random, item: Item, before: Item) -> Item:
    """A plain ground with a plain bar on a sixteenth of it."""
    picture = Image.new("RGB", (320, 240), (235, 235, rng.randrange(200, 236)))
    picture.paste((30, rng.randrange(40, 80), 60), (0, 190, 320, 205))
    return drawn(rng, item, picture, "PNG", "image.entropy.min")


def small(rng: random.Random, item: Item, before: Item) -> Item:
    side = rng.randint(16, 96)
    picture, _ = KINDS[item.number % len(KINDS)](rng, 240, 240)
    return drawn(rng, item, picture.resize((side, side * 5 // 4)), None, "image.short_side.min")


def wide(rng: random.Random, item: Item, before: Item) -> Item:
    picture, _ = KINDS[item.number % len(KINDS)](rng, rng.randint(1200, 1700), 220)
    return drawn(rng, item, picture, "JPEG", "image.aspect_ratio.max")


def other_format(rng: random.Random, item: Item, before: Item) -> Item:
    picture = shade((rng.randrange(256), 40, 90), (240, 220, 180), 300, 240)
    return drawn(rng, item, picture, "GIF", "image.format.in")


def few_characters(rng: random.Random, item: Item, before: Item) -> Item:
    return dropped(item, rng.choice(["Sun", "A dog", "Cat", "Boat"]), "caption.characters.min")


def few_words(rng: random.Random, item: Item, before: Item) -> Item:
    return dropped(item, f"Mountains {item.number}", "caption.words.min")


def many_characters(rng: random.Random, item: Item, before: Item) -> Item:
    return dropped(item, " ".join([item.caption] * (2400 // len(item.caption) + 1)), "caption.characters.max")


def many_words(rng: random.Random, item: Item, before: Item) -> Item:
    words = ("a", "big", "old", "red", "sun", "on", "the", "hill", "by", "my", "car", "was", "far", "up")
    text = " ".join(rng.choice(words) for _ in range(340))
    return dropped(item, f"{text} {item.number}", "caption.words.max")


def other_language(rng: random.Random, item: Item, before: Item) -> Item:
    """Kept unless the recipe is told which languages to keep."""
    language = rng.choice(list(CAPTIONS_ELSEWHERE))
    return replace(item, caption=f"{CAPTIONS_ELSEWHERE[language]}, {item.number}", language=language)


def cut_short(rng: random.Random, item: Item, before: Item) -> Item:
    """A JPEG or PNG that ends half way."""
    picture, _ = KINDS[item.number % len(KINDS)](rng, 320, 240)
    data, extension = encode(rng, picture, rng.choice(["JPEG", "PNG"]))
    return replace(item, data=data[: len(data) // 2], extension=extension, outcome="dead", reason="Truncated")


def drawn(rng: random.Random, item: Item, picture: Image.Image, kind: str | None, reason: str) -> Item:
    data, extension = encode(rng, picture, kind)
    pixels = picture.width * picture.height
    return replace(item, data=data, extension=extension, pixels=pixels, outcome="dropped", reason=reason)


def dropped(item: Item, caption: str, reason: str) -> Item:
    return replace(item, caption=caption, outcome="dropped", reason=reason)


DEFECTS: dict[str, Callable[[random.Random, Item, Item], Item]] = {
    defect.__name__: defect
    for defect in (
        same_pair,
        same_picture,
        common_caption,
        one_colour,
        little_to_see,
        small,
        wide,
        other_format,
        few_characters,
        few_words,
        many_characters,
        many_words,
        other_language,
        cut_short,
    )
}
PLACES = {3 * number + 2: name for number, name in enumerate(DEFECTS)}  # place in a run of 50 -> defect


def settled(made: Iterable[tuple[str, Item]]) -> list[Planted]:
    """What should become of each (key, item), now that all of them are known."""
    pairs = list(made)
    shared = {item.cluster for _, item in pairs if item.cluster is not None}
    common: defaultdict[str, list[Item]] = defaultdict(list)
    for _, item in pairs:
        if item.defect == "common_caption":
            common[item.caption].append(item)
    late = {
        item.number
        for group in common.values()
        for item in sorted(group, key=lambda item: (-item.pixels, item.number))[CAPTIONS_KEPT:]
    }
    out = []
    for key, item in pairs:
        planted = Planted(key, item.defect, item.outcome, item.reason, item.language, item.cluster)
        if item.number in shared:
            planted = replace(planted, outcome="one of", reason="duplicate.pair.choose", cluster=item.number)
        if item.number in late:
            planted = replace(planted, outcome="dropped", reason="duplicate.caption.choose")
        out.append(planted)
    return out


def light(item: Item) -> Item:
    """Without its bytes, to be remembered."""
    return replace(item, data=b"")


def expected_counts(planted: Iterable[Planted]) -> dict[str, Any]:
    """The counts that `winnow run` should print: in, kept, dropped by rule, dead by class."""
    kept, total = 0, 0
    dropped: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    seen: set[int | None] = set()
    for one in planted:
        total += 1
        first = one.outcome == "one of" and one.cluster not in seen
        seen.add(one.cluster)
        if one.outcome == "kept" or first:
            kept += 1
        else:
            (dead if one.outcome == "dead" else dropped)[one.reason] += 1
    return {"in": total, "kept": kept, "dropped": dict(sorted(dropped.items())), "dead": dict(sorted(dead.items()))}


def render_pages(folder: Path, number: int, seed: int = 0) -> list[Planted]:
    """Web pages with twelve pictures each, captions in every usual place, in the layout that the html reader takes."""
    made: list[tuple[str, Item]] = []
    names: list[str] = []
    page: list[str] = []
    (folder / "images").mkdir(parents=True)
    for item in items(number, seed):
        name = f"part-{item.number // PICTURES_A_PAGE // 20:03d}/page-{item.number // PICTURES_A_PAGE:05d}.html"
        image = f"images/{item.stem}.{item.extension}"
        (folder / image).write_bytes(item.data)
        page.append(figure(item, f"../{image}"))
        made.append((f"{name}\0{image}\0{1}", light(item)))
        if len(page) == PICTURES_A_PAGE or item.number == number - 1:
            write_page(folder / name, f"Plates {item.number + 1 - len(page)} to {item.number}", page)
            names.append(name)
            page = []
    links = "\n".join(f'<li><a href="{name}">{name}</a></li>' for name in names)
    (folder / "index.html").write_text(f"<!DOCTYPE html>\n<title>Rendered corpus</title>\n<ul>\n{links}\n</ul>\n")
    return settled(made)


def figure(item: Item, address: str) -> str:
    """One picture on a page; the caption stands in one of four places."""
    text = html.escape(item.caption)
    match item.number % 4:
        case 0:
            return f'<figure><img src="{address}" alt=""><figcaption>{text}</figcaption></figure>'
        case 1:
            return f'<p><img src="{address}" alt="{text}"></p>'
        case 2:
            return f'<p><img src="{address}" alt="image" title="{text}"></p>'
        case _:
            return f'<div class="image"><img src="{address}"><div class="caption">{text}</div></div>'


def write_page(path: Path, title: str, figures: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    body = "\n<p>Drawn by a program, from a seed.</p>\n".join(figures)
    path.write_text(
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n",
        encoding="utf-8",
    )


def render_folder(folder: Path, number: int, seed: int = 0) -> list[Planted]:
    """Pictures with a .txt or .json beside each, a thousand a subfolder."""
    made = []
    for item in items(number, seed):
        path = folder / f"{item.number // 1000:03d}" / f"{item.stem}.{item.extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.data)
        if item.number % 2:
            path.with_suffix(".json").write_text(json.dumps({"caption": item.caption}), encoding="utf-8")
        else:
            path.with_suffix(".txt").write_text(item.caption, encoding="utf-8")
        made.append((path.relative_to(folder).as_posix(), light(item)))
    return settled(made)


def render_webdataset(folder: Path, number: int, seed: int = 0) -> list[Planted]:
    """Tars as img2dataset writes them: key.jpg, key.json and key.txt a sample, and a _stats.json beside each tar."""
    made = []
    folder.mkdir(parents=True, exist_ok=True)
    for shard, members in groupby(items(number, seed), lambda item: f"{item.number // PICTURES_A_TAR:05d}"):
        size = 0
        with (folder / f"{shard}.tar").open("wb") as file, TarWriter(file) as tar:
            for item in members:
                key = f"{shard}{size:04d}"
                tar.add(f"{key}.{item.extension}", item.data)
                tar.add(f"{key}.json", json.dumps(record(item, key)).encode())
                tar.add(f"{key}.txt", item.caption.encode())
                made.append((key, light(item)))
                size += 1
        (folder / f"{shard}_stats.json").write_text(json.dumps({"count": size, "successes": size}), encoding="utf-8")
    return settled(made)


def record(item: Item, key: str) -> dict[str, Any]:
    """What img2dataset notes of a sample."""
    url = f"https://example.org/{item.stem}.{item.extension}"
    return {"caption": item.caption, "url": url, "key": key, "status": "success", "error_message": None}


def render_parquet(folder: Path, number: int, seed: int = 0) -> list[Planted]:
    """One table with a column of picture bytes, a hundred rows a row group."""
    made = []
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("key", pa.string()), ("image", pa.binary()), ("caption", pa.string())])
    with pq.ParquetWriter(folder / "pictures.parquet", schema) as writer:
        rows: list[dict[str, Any]] = []
        for item in items(number, seed):
            rows.append({"key": item.stem, "image": item.data, "caption": item.caption})
            made.append((item.stem, light(item)))
            if len(rows) == 100 or item.number == number - 1:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
    return settled(made)
