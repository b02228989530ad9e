"""Galleries: what stands just above and just below each cut, and clusters side by side, as tiles ready to be shown."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from manifests.document import Media
from manifests.rules import Bounds, column_of
from pipelines.audit import clusters, text, thumbnails
from pipelines.audit.clusters import Cluster
from pipelines.audit.contents import Content, Location, read_contents
from pipelines.audit.nearest import SHOWN, Candidate
from pipelines.audit.parts import Ledger, floats
from pipelines.audit.studies import Gallery
from pipelines.folder import RunFolder
from stages.image.decoder import Decoder

# Scores that say how likely a picture is to disturb; none of ours yet, a user's scorer may be called so.
SENSITIVE = ("nsfw", "unsafe", "sensitive", "gore", "violence")
SENSITIVE_FROM = 0.5  # where the recipe sets no upper bound on such a score
CLUSTER_STATES = {clusters.CHOSEN: "chosen", clusters.LOST: "lost", clusters.NOT_ASKED: "dropped before"}


@dataclass(slots=True)
class Tile:
    """One picture with its caption. outcome: kept | dropped, `became` in words. veiled: blurred until clicked."""

    candidate: Candidate
    value: str
    outcome: str
    became: str
    caption: str = ""
    source: str = ""
    size: str = ""
    picture: str = ""  # sha256
    uri: str = ""
    veiled: bool = False
    mark: str = ""


@dataclass(slots=True)
class Tiles:
    """Tiles of one side of a cut, or of one cluster. more: documents that are not shown."""

    bound: str
    side: str
    tiles: list[Tile]
    note: str = ""

    @property
    def heading(self) -> str:
        """Where on the axis these stand, and what that means."""
        if self.bound == "in":
            return "Allowed: passes" if self.side == "passes" else "Not among the allowed: fails"
        below = (self.bound == "min") == (self.side == "fails")
        return f"Just {'below' if below else 'above'} the {self.bound}: {self.side}"


@dataclass(slots=True)
class Album:
    """Every gallery of the report: rule name -> its tiles. judged: whether a scorer looked for sensitive pictures."""

    by_rule: dict[str, list[Tiles]] = field(default_factory=dict)
    judged: bool = False

    def all_tiles(self) -> list[Tile]:
        """The dearest first: the first of every gallery, then the second of each."""
        groups = [group.tiles for groups in self.by_rule.values() for group in groups]
        longest = max(map(len, groups), default=0)
        return [tiles[turn] for turn in range(longest) for tiles in groups if turn < len(tiles)]


class Curator:
    """Turns chosen rows of the ledger into tiles. Reads captions first, then only the pictures that are shown."""

    def __init__(self, run: RunFolder, ledger: Ledger, decoder: Decoder):
        self._run, self._ledger, self._decoder = run, ledger, decoder

    def album(
        self, galleries: Mapping[str, Sequence[Gallery]], found: Mapping[str, Sequence[Cluster]], shown: int = SHOWN
    ) -> Album:
        wanted = {(c.part, c.uid) for groups in galleries.values() for g in groups for c in g.candidates}
        wanted |= {(c.part, c.uid) for groups in found.values() for g in groups for _, c in g.members}
        contents = read_contents(self._run, wanted)
        album = Album()
        for place, rule in enumerate(self._ledger.rules):
            groups = [self._gallery(place, gallery, contents, shown) for gallery in galleries.get(rule.name, ())]
            groups += [self._cluster(place, cluster, contents) for cluster in found.get(rule.name, ())]
            album.by_rule[rule.name] = [group for group in groups if group.tiles]
        columns = sensitive_columns(self._ledger)
        album.judged = bool(columns)
        veil(self._ledger, columns, album.all_tiles())
        return album

    def _gallery(self, place: int, gallery: Gallery, contents: Mapping[tuple[int, str], Content], shown: int) -> Tiles:
        """The nearest `shown` documents with different captions, then others, in order of value."""
        first: list[Candidate] = []
        again: list[Candidate] = []
        captions: set[str] = set()
        for candidate in gallery.candidates:
            content = contents.get((candidate.part, candidate.uid))
            caption = "" if content is None else content.caption
            (again if caption in captions else first).append(candidate)
            captions.add(caption)
        chosen = sorted([*first, *again][:shown], key=lambda c: (c.late, c.distance, c.uid))
        tiles = [self._tile(place, candidate, contents) for candidate in chosen]
        rule = self._ledger.rules[place]
        if isinstance(rule, Bounds) and rule.drop == "segment" and gallery.side == "fails":
            for tile in tiles:
                tile.became = f"picture taken out; document {tile.became}"
        return Tiles(gallery.bound, gallery.side, tiles)

    def _cluster(self, place: int, cluster: Cluster, contents: Mapping[tuple[int, str], Content]) -> Tiles:
        tiles = []
        for state, candidate in cluster.members:
            tile = self._tile(place, candidate, contents)
            tile.mark = CLUSTER_STATES[state]
            tiles.append(tile)
        more = cluster.size - len(tiles)
        note = f"{cluster.size:,} documents, {cluster.lost:,} dropped here" + (f"; {more:,} not shown" if more else "")
        return Tiles("choose", cluster.key, tiles, note)

    def _tile(self, place: int, candidate: Candidate, contents: Mapping[tuple[int, str], Content]) -> Tile:
        outcome, became = self._became(place, candidate)
        tile = Tile(candidate, shown_value(candidate.value), outcome, became)
        content = contents.get((candidate.part, candidate.uid))
        if content is None:
            return tile
        tile.caption = text.harmless(content.caption, text.CAPTION)
        locator = ", ".join(f"{key} {value}" for key, value in sorted(content.document.source.locator.items()))
        tile.source = text.harmless(f"{content.document.source.name}: {locator}")
        location = content.location(candidate.segment)
        if location is not None:
            tile.picture = location[0]
        return tile

    def _became(self, place: int, candidate: Candidate) -> tuple[str, str]:
        rules = self._ledger.rules
        if candidate.place == len(rules):
            return "kept", "kept"
        name = rules[candidate.place].name
        if candidate.place == place:
            return "dropped", "dropped here"
        return "dropped", f"dropped {'before' if candidate.place < place else 'later'} by {name}"

    def draw(self, album: Album, budget: int) -> None:
        """Fills in the pictures of all tiles, in at most `budget` bytes of text."""
        tiles = [tile for tile in album.all_tiles() if tile.picture]
        contents = read_contents(self._run, {(t.candidate.part, t.candidate.uid) for t in tiles})
        wanted: dict[Location, Media] = {}
        for tile in tiles:
            content = contents[tile.candidate.part, tile.candidate.uid]
            by_sha256 = {media.sha256: media for _, media in content.document.media()}
            location = content.location(tile.candidate.segment)
            if location is not None:
                wanted[location] = by_sha256[location[0]]
        drawn = thumbnails.draw(self._run, self._decoder, wanted)
        encoded = thumbnails.within(drawn, [tile.picture for tile in tiles], budget)
        for tile in tiles:
            if tile.picture in drawn:
                tile.size = f"{drawn[tile.picture].width} × {drawn[tile.picture].height}"
            if tile.picture in encoded:
                tile.uri = thumbnails.data_uri(encoded[tile.picture])


def shown_value(value: str) -> str:
    """A score as people read it: 0.03125 as 0.0313, a word as it is."""
    try:
        return text.number(float(value)) if value not in ("", "true", "false") else value
    except (ValueError, OverflowError):
        return text.harmless(value, 40)


def sensitive_columns(ledger: Ledger) -> dict[str, float]:
    """Picture scores that are named after something disturbing -> the value from which a picture is blurred."""
    bounds = {column_of(rule.name): rule.max for rule in ledger.rules if isinstance(rule, Bounds)}
    out = {}
    for column in ledger.media_schema:
        words = set(column.name.split("_"))
        if words & set(SENSITIVE) and not column.name.startswith("pass_") and pa.types.is_floating(column.type):
            limit = bounds.get(column.name)
            out[column.name] = SENSITIVE_FROM if limit is None else limit
    return out


def veil(ledger: Ledger, columns: Mapping[str, float], tiles: Iterable[Tile]) -> None:
    """Marks the tiles whose picture a scorer found sensitive."""
    by_part: dict[int, list[Tile]] = defaultdict(list)
    for tile in tiles if columns else ():
        by_part[tile.candidate.part].append(tile)
    for number, there in sorted(by_part.items()):
        media = ledger.part(number, (), {"sha256", *columns}).media
        bad: set[str] = set()
        for name, limit in columns.items():
            over = floats(media[name]) >= limit
            bad.update(media["sha256"].filter(pa.array(over)).to_pylist())
        for tile in there:
            tile.veiled = tile.picture in bad
