"""Everything that the report says, found in two passes over the ledger, before a word of HTML is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from manifests.manifest import Manifest, read_manifest
from manifests.rules import Choose, Rule
from manifests.store import Store
from pipelines.audit.clusters import ClusterStudy, study_clusters
from pipelines.audit.funnel import Funnel
from pipelines.audit.parts import Ledger
from pipelines.audit.studies import Levels, Study, columns_of, studies_of, whole_numbers
from pipelines.audit.tallies import DeadLetters, Tally, outcome_of_pictures

RULES = 60  # rules with a section of their own; more are counted in the funnel only
# Columns that say what the input was: title, table, column, and what one row of it is.
KINDS = (
    ("Licences", "documents", "licence", "documents"),
    ("Sources", "documents", "source", "documents"),
    ("Languages of captions", "documents", "caption_language", "documents"),
    ("Picture formats", "media", "decoded_format", "pictures"),
    ("Pixel modes", "media", "mode", "pictures"),
    ("What the pixel policy did", "media", "policy", "pictures"),
)


@dataclass(slots=True)
class Findings:
    """kinds: (title, what one is, tally). studies, clusters: by rule name. cut_off: rules without a section."""

    manifest: Manifest
    funnel: Funnel
    dead: DeadLetters
    kinds: list[tuple[str, str, Tally]]
    studies: dict[str, Study] = field(default_factory=dict)
    clusters: dict[str, ClusterStudy] = field(default_factory=dict)
    cut_off: int = 0


def find(store: Store, rules: Sequence[Rule]) -> tuple[Findings, Ledger]:
    """rules: the recipe's active ones, in order."""
    manifest = read_manifest(store)
    ledger = Ledger(store, manifest, rules)
    shown = {rule.name for rule in rules[:RULES]}
    studies = [study for study in studies_of(ledger) if study.rule.name in shown]
    findings = first_pass(ledger, manifest, studies)
    findings.cut_off = max(0, len(rules) - RULES)
    findings.studies = {study.rule.name: study for study in studies}
    second_pass(ledger, studies)
    for place, rule in enumerate(rules):
        if isinstance(rule, Choose) and rule.name in shown and ledger.level(rule) == "document":
            findings.clusters[rule.name] = study_clusters(ledger, rule, place, findings.funnel.rows)
    return findings, ledger


def first_pass(ledger: Ledger, manifest: Manifest, studies: Sequence[Study]) -> Findings:
    """Counts and ranges."""
    schemas = {"documents": ledger.document_schema, "media": ledger.media_schema}
    kinds = [(kind, Tally()) for kind in KINDS if kind[2] in schemas[kind[1]].names]
    found = Findings(manifest, Funnel(ledger.rules), DeadLetters(), [(k[0], k[3], tally) for k, tally in kinds])
    columns = columns_of(ledger.rules) | {kind[2] for kind, _ in kinds}
    fixed = {"source", "locator", "dead_stage", "dead_reason", "dead_message"}
    for part in ledger.parts(columns | fixed, columns | {"rule"}):
        found.funnel.add(ledger, part)
        found.dead.add(part)
        pictures = outcome_of_pictures(part)
        for (_, table, column, _), tally in kinds:
            if table == "documents":
                tally.add(part.documents[column], part.documents["outcome"])
            elif column in part.media.column_names:
                tally.add(part.media[column], pictures)
        for study in studies:
            study.survey(part)
    return found


def second_pass(ledger: Ledger, studies: Sequence[Study]) -> None:
    """Histograms and what is near each cut."""
    for study in studies:
        study.prepare(whole_numbers(ledger, study))
    columns = columns_of([study.rule for study in studies])
    for part in ledger.parts(columns, columns | {"segment", "sha256"}) if studies else ():
        levels = Levels(part)
        for study in studies:
            study.see(part, levels)
