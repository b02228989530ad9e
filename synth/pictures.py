"""Draws small pictures that can be told apart and described in a sentence: scenes, charts, signs, skies, textures.

Every function takes a random generator and a size in pixels and returns an RGB picture with what it shows, in English.
Pillow only, a few milliseconds a picture, the same for the same generator state.
"""

import random
from collections.abc import Callable
from functools import cache

from PIL import Image, ImageChops, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Drawn = tuple[Image.Image, str]

COLOURS: dict[str, Colour] = {
    "red": (200, 40, 40),
    "orange": (230, 130, 30),
    "yellow": (235, 205, 50),
    "green": (50, 150, 70),
    "turquoise": (60, 180, 180),
    "blue": (45, 85, 190),
    "violet": (130, 70, 180),
    "pink": (235, 140, 175),
    "brown": (120, 75, 40),
    "white": (245, 245, 240),
    "black": (25, 25, 30),
}
LIGHT = ("orange", "yellow", "turquoise", "pink", "white")
SKIES = {
    "a clear morning sky": ((150, 200, 245), (235, 240, 250)),
    "an evening sky": ((60, 50, 110), (245, 150, 90)),
    "a cloudy sky": ((140, 150, 160), (205, 210, 215)),
    "a night sky": ((10, 15, 40), (50, 60, 110)),
}
WORDS = [
    *("bakery", "brewery", "bridge", "carpenter", "castle", "chapel", "cinema", "ferry", "florist", "gallery"),
    *("garden", "harbour", "hospital", "kitchen", "library", "lighthouse", "market", "museum", "nursery", "orchard"),
    *("pharmacy", "printer", "quarry", "school", "stable", "station", "tailor", "theatre", "workshop"),
]
GOODS = ["apples", "bicycles", "books", "candles", "chairs", "drums", "kettles", "lamps", "pears", "shoes", "violins"]
PLACES = [
    "Aldford",
    "Brookham",
    "Carrow",
    "Dunmere",
    "Eastwick",
    "Farleigh",
    "Glenholm",
    "Harwell",
    "Ivybridge",
    "Kirkby",
]
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven"]


def scene(rng: random.Random, width: int, height: int) -> Drawn:
    """A landscape with hills, a sun or moon, and houses or trees."""
    sky = rng.choice(list(SKIES))
    picture = shade(SKIES[sky][0], SKIES[sky][1], width, height)
    draw = ImageDraw.Draw(picture)
    radius = height // rng.randint(8, 14)
    x, y = rng.randint(radius, width - radius), rng.randint(radius, height // 3)
    light = "moon" if "night" in sky else "sun"
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(250, 240, 170 if light == "sun" else 230))
    ground = height * 2 // 3
    for layer in range(3):
        green = (40 + 25 * layer, 110 + 20 * layer, 60)
        points = [(0, height)]
        points += [
            (step * width // 6, ground + layer * height // 12 - rng.randint(0, height // 7)) for step in range(7)
        ]
        draw.polygon([*points, (width, height)], fill=green)
    what, number = rng.choice(["house", "tree"]), rng.randint(1, 5)
    name = rng.choice(list(COLOURS))
    for place in range(number):
        side = height // rng.randint(6, 9)
        left, base = (2 * place + 1) * width // (2 * number + 1), ground + rng.randint(height // 12, height // 5)
        draw_one = house if what == "house" else tree
        draw_one(draw, left, base, side, COLOURS[name])
    things = f"{NUMBERS[number]} {name} {what}{'s' if number > 1 else ''}"
    return picture, f"{things} in front of green hills, with the {light} in {sky}"


def house(draw: ImageDraw.ImageDraw, x: int, y: int, side: int, colour: Colour) -> None:
    draw.rectangle((x, y - side, x + side, y), fill=colour)
    draw.polygon(
        [(x - side // 6, y - side), (x + side // 2, y - side * 8 // 5), (x + side * 7 // 6, y - side)], (110, 50, 40)
    )
    draw.rectangle((x + side // 3, y - side // 2, x + side * 2 // 3, y), fill=(70, 55, 45))


def tree(draw: ImageDraw.ImageDraw, x: int, y: int, side: int, colour: Colour) -> None:
    draw.rectangle((x + side * 2 // 5, y - side, x + side * 3 // 5, y), fill=(95, 65, 40))
    draw.ellipse((x, y - side * 2, x + side, y - side * 2 // 3), fill=colour)


def shapes(rng: random.Random, width: int, height: int) -> Drawn:
    """Circles, squares and triangles on a coloured ground."""
    ground, *names = rng.sample(list(COLOURS), 4)
    r, g, b = COLOURS[ground]
    picture = shade((r, g, b), (r * 3 // 4, g * 3 // 4, b * 3 // 4), width, height)
    draw = ImageDraw.Draw(picture)
    said = []
    for place, name in enumerate(names):
        kind = rng.choice(["circle", "square", "triangle"])
        side = rng.randint(height // 5, height // 3)
        x, y = place * width // 3 + rng.randint(0, max(1, width // 3 - side)), rng.randint(0, height - side)
        box = (x, y, x + side, y + side)
        if kind == "circle":
            draw.ellipse(box, fill=COLOURS[name], outline=(0, 0, 0))
        elif kind == "square":
            draw.rectangle(box, fill=COLOURS[name], outline=(0, 0, 0))
        else:
            draw.polygon([(x, y + side), (x + side // 2, y), (x + side, y + side)], COLOURS[name], outline=(0, 0, 0))
        said.append(f"{a(name)} {kind}")
    return picture, f"{said[0]}, {said[1]} and {said[2]} on {a(ground)} ground, from left to right"


def chart(rng: random.Random, width: int, height: int) -> Drawn:
    """A bar or line chart with a title and axes."""
    picture = shade((252, 250, 242), (226, 230, 238), width, height)
    draw = ImageDraw.Draw(picture)
    goods, place, name = rng.choice(GOODS), rng.choice(PLACES), rng.choice([n for n in COLOURS if n != "white"])
    year, bars = rng.randint(1950, 2020), rng.randint(5, 9)
    left, right, top, bottom = width // 9, width * 19 // 20, height // 5, height * 6 // 7
    draw.text(
        (left, height // 20), f"{goods.title()} sold in {place}", font=letters(max(12, height // 16)), fill=(20, 20, 20)
    )
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=(20, 20, 20), width=2)
    values = [rng.randint(10, 100) for _ in range(bars)]
    step = (right - left) // bars
    tops = [bottom - (bottom - top) * value // 100 for value in values]
    kind = rng.choice(["bar", "line"])
    for number, y in enumerate(tops):
        x = left + number * step
        if kind == "bar":
            draw.rectangle((x + step // 5, y, x + step * 4 // 5, bottom - 1), fill=COLOURS[name])
        draw.text(
            (x + step // 4, bottom + 2), str(year + number)[-2:], font=letters(max(9, height // 26)), fill=(60, 60, 60)
        )
    if kind == "line":
        points = [(left + number * step + step // 2, y) for number, y in enumerate(tops)]
        draw.line(points, fill=COLOURS[name], width=3)
    return picture, f"a {kind} chart in {name} of the {goods} sold in {place} between {year} and {year + bars - 1}"


def sign(rng: random.Random, width: int, height: int) -> Drawn:
    """A board with a word on it, before a wall."""
    wall, board, ink = rng.sample(list(COLOURS), 3)
    picture = ImageChops.multiply(
        shade(COLOURS[wall], (255, 255, 255), width, height), noise(rng, width, height, 8, 170)
    )
    draw = ImageDraw.Draw(picture)
    word = rng.choice(WORDS)
    size = width * 6 // 5 // max(6, len(word))
    x, y = width // 12, rng.randint(height // 6, height // 2)
    draw.rectangle((x, y, width - x, y + size * 3 // 2), fill=COLOURS[board], outline=(0, 0, 0), width=2)
    draw.text((width // 2, y + size * 3 // 4), word.upper(), font=letters(size), fill=COLOURS[ink], anchor="mm")
    return picture, f"{a(board)} sign that says {word} in {ink} letters on {a(wall)} wall"


def sky(rng: random.Random, width: int, height: int) -> Drawn:
    """A smooth blend of a light and a dark colour, as of a sky, with a few birds."""
    top, bottom = rng.choice(LIGHT), rng.choice([name for name in COLOURS if name not in LIGHT])
    if rng.random() < 0.5:
        top, bottom = bottom, top
    picture = shade(COLOURS[top], COLOURS[bottom], width, height)
    draw = ImageDraw.Draw(picture)
    birds = rng.randint(2, 7)
    for _ in range(birds):
        x, y, wing = rng.randint(0, width - 40), rng.randint(0, height - 30), rng.randint(8, 20)
        draw.line([(x, y), (x + wing, y + wing // 2), (x + 2 * wing, y)], fill=(15, 15, 15), width=3)
    return picture, f"{NUMBERS[birds]} birds in the air, where {top} at the top turns into {bottom} at the bottom"


def texture(rng: random.Random, width: int, height: int) -> Drawn:
    """Something like a photograph of a rough surface: noise of three sizes, tinted."""
    name = rng.choice(list(COLOURS))
    stone = rng.choice(["granite", "marble", "moss", "sandstone", "slate", "velvet", "wool"])
    coarse, middle = noise(rng, width, height, rng.randint(5, 9), 60), noise(rng, width, height, 24, 60)
    rough = ImageChops.multiply(ImageChops.blend(coarse, middle, 0.4), noise(rng, width, height, 90, 190))
    tinted = ImageChops.blend(rough, Image.new("RGB", (width, height), COLOURS[name]), 0.45)
    return tinted, f"a close view of rough {name} {stone}, lit from the side"


def a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


KINDS: tuple[Callable[[random.Random, int, int], Drawn], ...] = (scene, shapes, chart, sign, sky, texture)


def shade(top: Colour, bottom: Colour, width: int, height: int) -> Image.Image:
    """A blend from one colour above to another below."""
    strip = Image.new("RGB", (1, 2))
    strip.putpixel((0, 0), top)
    strip.putpixel((0, 1), bottom)
    return strip.resize((width, height), Image.Resampling.BILINEAR)


def noise(rng: random.Random, width: int, height: int, cells: int, floor: int) -> Image.Image:
    """Grey cells of random brightness from `floor` to 255, smoothed; `cells` on the width."""
    rows = max(2, cells * height // width)
    table = [floor + value * (255 - floor) // 255 for value in range(256)]
    small = Image.frombytes("L", (cells, rows), rng.randbytes(cells * rows)).point(table)
    return small.resize((width, height), Image.Resampling.BICUBIC).convert("RGB")


@cache
def letters(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface: no font file is needed. size: pixels."""
    return ImageFont.load_default(size)
