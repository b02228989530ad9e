"""The published ledger, part by part: only the columns that somebody needs, and never more than one part in memory."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests import ledger
from manifests.errors import RunError
from manifests.manifest import Manifest
from manifests.parquet import open_parquet, read_table
from manifests.rules import Rule, column_of, pass_column
from manifests.store import Store


@dataclass(frozen=True, slots=True)
class Part:
    """Some columns of one part. owner: int64[m], each picture's document row; -1 where it has none that was judged.

    place: int64[n], which rule a document fell to, counted in the recipe's order; the number of rules where it was
    kept, -1 where it is dead. A rule is reached by the documents whose place is not before it.
    """

    number: int
    documents: pa.Table
    media: pa.Table
    owner: np.ndarray
    place: np.ndarray
    rules: int

    @property
    def kept(self) -> np.ndarray:
        return self.place == self.rules

    @property
    def judged(self) -> np.ndarray:
        return self.place >= 0


class Ledger:
    """The ledger's files of one dataset, for a recipe's rules in order."""

    def __init__(self, store: Store, manifest: Manifest, rules: Sequence[Rule]):
        self._store = store
        self._paths: dict[str, dict[int, str]] = {ledger.DOCUMENTS: {}, ledger.MEDIA: {}}
        for file in manifest.ledger:
            folder, name = file.path.rsplit("/", 1)
            if folder in self._paths:
                self._paths[folder][int(name.split(".")[0])] = file.path
        self.rules = tuple(rules)
        self._place = {reason: place for place, rule in enumerate(rules) for reason in rule.reasons}
        self.numbers = sorted(self._paths[ledger.DOCUMENTS])
        self.document_schema = self._schema(ledger.DOCUMENTS)
        self.media_schema = self._schema(ledger.MEDIA)

    def _schema(self, folder: str) -> pa.Schema:
        paths = self._paths[folder]
        if not paths:
            return pa.schema([])
        with open_parquet(self._store, paths[min(paths)]) as file:
            schema: pa.Schema = file.schema_arrow
        return schema

    def level(self, rule: Rule) -> str | None:
        """`document` or `media`: which table holds a rule's score; None where neither does."""
        column = column_of(rule.name)
        if column in self.document_schema.names:
            return "document"
        return "media" if column in self.media_schema.names else None

    def table(self, folder: str, number: int, columns: Collection[str]) -> pa.Table:
        """Columns of one file, those of them that it has."""
        schema = self.document_schema if folder == ledger.DOCUMENTS else self.media_schema
        wanted = [name for name in schema.names if name in columns]
        path = self._paths[folder].get(number)
        if path is None:
            return pa.schema([schema.field(name) for name in wanted]).empty_table()
        try:
            return read_table(self._store, path, columns=wanted)
        except FileNotFoundError:
            raise RunError(
                f"{self._store.uri}/{path} is missing: the dataset is not whole (see winnow verify)"
            ) from None

    def parts(self, documents: Collection[str], media: Collection[str] = ()) -> Iterator[Part]:
        """Every part in order, with these columns beside uid, outcome and rule."""
        for number in self.numbers:
            yield self.part(number, documents, media)

    def part(self, number: int, documents: Collection[str], media: Collection[str] = ()) -> Part:
        table = self.table(ledger.DOCUMENTS, number, {"uid", "outcome", "rule", *documents})
        pictures = self.table(ledger.MEDIA, number, {"uid", *media}) if media else None
        place = self._places(table)
        owner = np.empty(0, np.int64)
        if pictures is not None and pictures.num_rows:
            rows = np.flatnonzero(place >= 0)
            found = pc.index_in(pictures["uid"], value_set=table["uid"].take(pa.array(rows)).combine_chunks())
            at = pc.fill_null(found, -1).to_numpy()
            owner = np.where(at >= 0, rows[at] if len(rows) else -1, -1)
        return Part(number, table, pictures if pictures is not None else pa.table({}), owner, place, len(self.rules))

    def _places(self, documents: pa.Table) -> np.ndarray:
        outcome, rule = documents["outcome"].to_pylist(), documents["rule"].to_pylist()
        known = {"kept": len(self.rules), "dead": -1}
        return np.array(
            [known[o] if o in known else self._place.get(r, 0) for o, r in zip(outcome, rule, strict=True)], np.int64
        )

    def failures(self, part: Part) -> np.ndarray:
        """bool[n, rules]: which rules each document fails by the ledger's own record, evaluated or not as it says."""
        out = np.zeros((part.documents.num_rows, len(self.rules)), bool)
        for number, rule in enumerate(self.rules):
            name = pass_column(rule)
            if name in part.documents.column_names:
                out[:, number] = ~np.asarray(pc.fill_null(part.documents[name], True))
            elif name in part.media.column_names:
                failed = ~np.asarray(pc.fill_null(part.media[name], True)) & (part.owner >= 0)
                out[part.owner[failed], number] = True
        return out


def floats(column: pa.ChunkedArray) -> np.ndarray:
    """float64[n] of a numeric or boolean column, NaN for null."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return np.asarray(column.cast(pa.float64()).to_numpy())


def is_numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
