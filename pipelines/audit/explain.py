"""Explain: all that is known of one document, from the published ledger and manifest; more while the work is there."""

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests import ledger
from manifests.errors import RunError
from manifests.manifest import Manifest, read_manifest
from manifests.parquet import read_table
from manifests.rules import Bounds, Choose, Rule, column_of, number_text, pass_column
from manifests.store import Store
from pipelines.audit.contents import part_contents
from pipelines.audit.explanation import Cluster, Explanation, Mate, Member, Verdict
from pipelines.audit.parts import Ledger
from pipelines.folder import open_store
from pipelines.materialize import plain_rows
from pipelines.run import open_run

LEAST_DIGITS = 4
LISTED = 8  # uids of an ambiguous prefix, and cluster mates, that are named
STATES = {True: "pass", False: "fail", None: "not evaluated"}
CHOICES = {True: "chosen", False: "lost", None: "not evaluated"}


def explain(output_uri: str, uid_or_prefix: str) -> Explanation:
    """What became of a document and why.

    Raises RunError for a prefix that fits no document or several; it names those that come nearest.
    """
    store = open_store(output_uri)
    manifest = read_manifest(store)
    table = Ledger(store, manifest, rules_of(manifest))
    rows = find(table, digits_of(uid_or_prefix), output_uri)
    found = explanation(table, rows[0], [plain(table, row) for row in rows[1:]])
    if found.outcome == "kept":
        found.members = members_of(store, manifest, found.uid)
    add_caption(found, store, output_uri, rows[0].part)
    return found


def rules_of(manifest: Manifest) -> list[Rule]:
    """The active rules in order, from the manifest alone."""
    rules: list[Rule] = []
    for value in manifest.recipe["rules"]:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k != "kind"}
        rule: Rule = Choose(**fields) if value["kind"] == "choose" else Bounds(**fields)
        if rule.active:
            rules.append(rule)
    return rules


def digits_of(text: str) -> str:
    """The hex digits of a uid or of its beginning; a member's name (`3f2a….jpg`) will do."""
    digits = text.strip().split(".")[0].rstrip("…").lower()
    if len(digits) < LEAST_DIGITS or len(digits) > 32 or set(digits) - set(string.hexdigits):
        raise RunError(
            f"{text!r} is no uid: expected {LEAST_DIGITS} to 32 hex digits, as the ledger's uid column has them"
        )
    return digits


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """A row of ledger/documents. dead first decides the order: a document that lived speaks before its double."""

    dead: bool
    part: int
    row: int
    uid: str
    outcome: str


def find(table: Ledger, digits: str, where: str) -> list[Row]:
    """The rows of the one uid that begins with these digits."""
    rows: list[Row] = []
    near: list[Row] = []
    for number in table.numbers:
        columns = table.table(ledger.DOCUMENTS, number, {"uid", "outcome"})
        rows += matches(columns, number, digits)
        if not rows:
            near = [*near, *neighbours(columns, number, digits)]
            near = sorted(near, key=lambda row: (-shared(row.uid, digits), row.uid))[:2]
        if len({row.uid for row in rows}) > LISTED:
            break
    uids = sorted({row.uid for row in rows})
    if not uids:
        hint = "; the nearest are " + " and ".join(f"{row.uid} ({row.outcome})" for row in near) if near else ""
        raise RunError(f"no document of {where} has a uid that begins with {digits}{hint}")
    if len(uids) > 1:
        more = " and more" if len(uids) > LISTED else ""
        outcome = {row.uid: row.outcome for row in rows}
        named = ", ".join(f"{uid} ({outcome[uid]})" for uid in uids[:LISTED])
        raise RunError(f"{digits} is the beginning of several uids: {named}{more}; give more digits")
    return sorted(rows)


def matches(columns: pa.Table, number: int, digits: str) -> Iterator[Row]:
    begins = np.asarray(pc.starts_with(columns["uid"], digits), bool)
    return (row_at(columns, number, int(at)) for at in np.flatnonzero(begins))


def neighbours(columns: pa.Table, number: int, digits: str) -> Iterator[Row]:
    """The uids just before and after the digits in the order of uids: one of them shares the longest beginning."""
    before = columns["uid"].filter(pc.less(columns["uid"], digits))
    after = columns["uid"].filter(pc.greater(columns["uid"], digits))
    for side, best in ((before, pc.max), (after, pc.min)):
        if len(side):
            yield row_at(columns, number, pc.index(columns["uid"], best(side)).as_py())


def row_at(columns: pa.Table, number: int, at: int) -> Row:
    outcome = columns["outcome"][at].as_py()
    return Row(outcome == "dead", number, at, columns["uid"][at].as_py(), outcome)


def shared(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def plain(table: Ledger, row: Row) -> dict[str, Any]:
    """One row of the documents table as JSON values."""
    whole = table.table(ledger.DOCUMENTS, row.part, table.document_schema.names)
    return plain_rows(whole.slice(row.row, 1))[0]


def explanation(table: Ledger, row: Row, twins: Sequence[Mapping[str, Any]]) -> Explanation:
    document = plain(table, row)
    media = table.table(ledger.MEDIA, row.part, table.media_schema.names)
    pictures = [] if row.dead else plain_rows(media.filter(pc.equal(media["uid"], row.uid)))
    fixed = {field.name for field in ledger.DOCUMENT_COLUMNS}
    return Explanation(
        uid=row.uid,
        outcome=row.outcome,
        rule=document["rule"],
        value=document["value"],
        bound=document["bound"],
        dead=dead_of(document) if row.dead else None,
        source=document["source"],
        uri=document.get("uri"),
        locator=json.loads(document["locator"]),
        licence=document["licence"],
        rules=[verdict(rule, document, pictures) for rule in table.rules],
        scores={k: v for k, v in document.items() if k not in fixed and not k.startswith("pass_")},
        pictures=[{k: v for k, v in p.items() if k != "uid" and not k.startswith("pass_")} for p in pictures],
        clusters=[] if row.dead else clusters_of(table, document),
        twins=[{"outcome": t["outcome"], **dead_of(t), "locator": json.loads(t["locator"])} for t in twins],
    )


def dead_of(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document[f"dead_{name}"] for name in ("stage", "reason", "message")}


def verdict(rule: Rule, document: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]]) -> Verdict:
    """One rule's word on a document; of several pictures one that fails speaks for all."""
    column, passed = column_of(rule.name), pass_column(rule)
    rows = [document] if passed in document else pictures
    said = {row[passed] for row in rows if passed in row}
    state = STATES[False if False in said else True if True in said else None]
    decided = document["rule"] in rule.reasons
    why = ""
    if state == "not evaluated" and document["outcome"] == "dropped":
        why = f"{document['rule']} had dropped it before"
    values = [row[column] for row in rows if column in row]
    return Verdict(rule.name, state, values, bounds_of(rule), decided, why)


def bounds_of(rule: Rule) -> str:
    if isinstance(rule, Choose):
        return f"keep {rule.keep} of each" + (f" by {', '.join(rule.by)}" if rule.by else "")
    words = [] if rule.min is None else [f"min {number_text(rule.min)}"]
    words += [] if rule.max is None else [f"max {number_text(rule.max)}"]
    words += [] if rule.allowed is None else [f"in {', '.join(map(str, rule.allowed))}"]
    return ", ".join(words)


def clusters_of(table: Ledger, document: Mapping[str, Any]) -> list[Cluster]:
    """For each choose rule, who else is in the document's cluster and who was chosen. One pass over the ledger."""
    rules = [rule for rule in table.rules if isinstance(rule, Choose) and document.get(column_of(rule.name))]
    columns = {name for rule in rules for name in (column_of(rule.name), pass_column(rule))}
    order = list(CHOICES.values())
    size = [0] * len(rules)
    found: list[list[Mate]] = [[] for _ in rules]
    for number in table.numbers if rules else ():
        rows = table.table(ledger.DOCUMENTS, number, {"uid", "outcome", *columns})
        for place, rule in enumerate(rules):
            key = pa.scalar(bytes.fromhex(document[column_of(rule.name)]), pa.binary(16))
            alike = pc.and_(pc.equal(rows[column_of(rule.name)], key), pc.not_equal(rows["outcome"], "dead"))
            mates = rows.filter(alike)
            size[place] += mates.num_rows
            names = (mates[name].to_pylist() for name in ("uid", pass_column(rule), "outcome"))
            others = (Mate(uid, CHOICES[won], out) for uid, won, out in zip(*names, strict=True))
            found[place] += [mate for mate in others if mate.uid != document["uid"]]
            found[place] = sorted(found[place], key=lambda mate: (order.index(mate.state), mate.uid))[:LISTED]
    return [
        Cluster(rule.name, document[column_of(rule.name)], size[i], CHOICES[document[pass_column(rule)]], found[i])
        for i, rule in enumerate(rules)
    ]


def members_of(store: Store, manifest: Manifest, uid: str) -> list[Member]:
    """Where a kept document's files lie, from the indexes."""
    for shard in manifest.shards:
        uids = read_table(store, shard.index.path, columns=["uid"])["uid"]
        at = pc.index(uids, uid).as_py()
        if at >= 0:
            members = read_table(store, shard.index.path, columns=["members"])["members"][at].as_py()
            return [Member(shard.tar.path, f"{uid}.{m['name']}", m["offset"], m["size"], m["sha256"]) for m in members]
    return []


def add_caption(found: Explanation, store: Store, output_uri: str, part: int) -> None:
    """From the raw shards while they are there; else, for what was kept, from its sample; else a note says so."""
    if found.outcome == "dead":
        return
    try:
        _, run = open_run(output_uri)
        contents = dict(reversed(list(part_contents(run, part, [found.uid]))))
        if found.uid in contents:
            found.caption = contents[found.uid].caption
            return
    except (RunError, FileNotFoundError):
        pass
    sample = next((member for member in found.members if member.name.endswith(".json")), None)
    if sample is None:
        found.notes.append("its caption and picture are not shown: the run's work folder is gone (winnow clean)")
        return
    document = json.loads(store.read_range(sample.shard, sample.offset, sample.size))
    found.caption = "\n".join(segment["text"] for segment in document["segments"] if segment["kind"] == "text")
