"""What is known of one document, as one JSON object and as text for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.audit.text import harmless, size, whole

MARKS = {"pass": "✓", "fail": "✗", "not evaluated": "·"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's own word. state: pass | fail | not evaluated. values: of the document, or of each picture in order.

    decided: whether this is the rule that dropped it: the first one failed.
    """

    rule: str
    state: str
    values: Sequence[Any]
    bounds: str
    decided: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Mate:
    """Another document of its cluster. state: chosen | lost | not evaluated."""

    uid: str
    state: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """rule: the choose rule. size: documents in the cluster, this one too. mates: some others, the chosen first."""

    rule: str
    cluster: str
    size: int
    state: str
    mates: Sequence[Mate]


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a sample: where its bytes lie in the shard."""

    shard: str
    name: str
    offset: int
    size: int
    sha256: str


@dataclass(slots=True)
class Explanation:
    """Everything; see the fields. dead: {stage, reason, message} or None. twins: other rows of the ledger with the uid.

    caption: None where it is not known any more. notes: what cannot be shown, and why.
    """

    uid: str
    outcome: str
    rule: str | None
    value: str | None
    bound: str | None
    dead: Mapping[str, Any] | None
    source: str
    uri: str | None
    locator: Any
    licence: str | None
    rules: Sequence[Verdict]
    scores: Mapping[str, Any]
    pictures: Sequence[Mapping[str, Any]]
    clusters: Sequence[Cluster]
    twins: Sequence[Mapping[str, Any]]
    caption: str | None = None
    members: list[Member] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = clean(asdict(self))
        return value

    def text(self) -> str:
        """Sixty lines or so, nothing of the source's text able to reach the terminal's controls."""
        return "\n".join(line.rstrip() for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.outcome:<9} {self.uid}"
        if self.rule is not None:
            bound = "it has no value" if self.bound is None else f"the bound is {harmless(self.bound)}"
            value = "none" if self.value is None else harmless(self.value)
            yield f"  by      {self.rule}: {value}; {bound}"
        if self.dead is not None:
            yield f"  class   {self.dead['reason']}, in stage {self.dead['stage']}"
            yield f"  message {harmless(str(self.dead['message'] or ''), 1000)}"
        yield f"  source  {harmless(self.source)}" + (f"   licence {harmless(self.licence)}" if self.licence else "")
        if self.uri:
            yield f"  address {harmless(self.uri)}"
        yield f"  place   {located(self.locator)}"
        if self.caption is not None:
            yield f"  caption {harmless(self.caption, 400) or '(empty)'}"
        yield from self._verdicts()
        yield from self._scores()
        yield from self._clusters()
        if self.members:
            yield f"in {self.members[0].shard}"
            for member in self.members:
                yield f"  {member.name:<44} at {member.offset:>12,}  {member.size:>12,} bytes"
        for twin in self.twins:
            yield f"the same key again: {twin['outcome']} {twin['reason'] or ''}, {located(twin['locator'])}"
        for note in self.notes:
            yield f"note: {note}"

    def _verdicts(self) -> Iterator[str]:
        if self.rules and self.outcome != "dead":
            yield "rules, in order"
        for verdict in self.rules if self.outcome != "dead" else ():
            values = ", ".join(harmless(str(v), 40) for v in verdict.values[:6]) or "-"
            more = f" and {len(verdict.values) - 6} more" if len(verdict.values) > 6 else ""
            tail = "   <- this one dropped it" if verdict.decided else f"   ({verdict.why})" if verdict.why else ""
            yield f"  {MARKS[verdict.state]} {verdict.rule:<26} {values + more:<22} {verdict.bounds}{tail}"

    def _scores(self) -> Iterator[str]:
        """Scores that no rule has shown already, and the facts of each picture."""
        shown = {verdict.rule.replace(".", "_") for verdict in self.rules}
        left = {name: value for name, value in self.scores.items() if name not in shown and value not in (None, "")}
        if left:
            yield "other scores"
        for name, value in left.items():
            yield f"    {name:<26} {harmless(str(value), 80)}"
        for picture in self.pictures:
            yield f"picture {picture['segment']}: {picture['sha256']} ({size(picture['bytes'])})"
            for name, value in picture.items():
                if name not in {"segment", "sha256", "bytes", *shown} and value not in (None, ""):
                    yield f"    {name:<26} {harmless(str(value), 80)}"

    def _clusters(self) -> Iterator[str]:
        for cluster in self.clusters:
            alone = "alone in its cluster" if cluster.size == 1 else f"one of {cluster.size:,}, {cluster.state}"
            yield f"{cluster.rule}: {alone}"
            for mate in cluster.mates:
                yield f"  {mate.uid}  {mate.state}, {mate.outcome}"
            if cluster.size - 1 > len(cluster.mates):
                yield f"  … and {cluster.size - 1 - len(cluster.mates):,} more"


def located(locator: Any) -> str:
    if isinstance(locator, dict):
        return harmless(", ".join(f"{key} {value}" for key, value in sorted(locator.items())), 400)
    return harmless(str(locator), 400)


def clean(value: Any) -> Any:
    """The value with every string fit for UTF-8."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
