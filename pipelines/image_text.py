"""The image-text family: pairs of one picture and its caption. This file is the whole pipeline, read top to bottom."""

from manifests.rules import Choose as ChooseRule
from pipelines.choose import Choose
from pipelines.decide import Decide
from pipelines.identity import Identity
from pipelines.materialize import Materialize
from pipelines.phase import AnyPhase
from pipelines.recipe import Recipe
from pipelines.score import ScorePhase
from stages.dedup.exact import ExactDuplicates
from stages.image.aspect_ratio import AspectRatio
from stages.image.decoder import Decoder
from stages.image.file_sanity import FileSanity
from stages.image.information import Information
from stages.image.size import Size
from stages.image.solid_color import SolidColor
from stages.scorer import Scorer
from stages.text.caption_language import CaptionLanguage
from stages.text.caption_length import CaptionLength


def decoder() -> Decoder:
    return Decoder()


def scorers() -> list[Scorer]:
    """In the order they run: what is read from the header first, words last."""
    return [
        FileSanity(),
        Size(),
        AspectRatio(),
        SolidColor(),
        Information(),
        CaptionLength(),
        CaptionLanguage(),
        ExactDuplicates(),
    ]


def phases_of(recipe: Recipe) -> tuple[AnyPhase, ...]:
    """Score once, decide later: everything after ingest."""
    rules = recipe.rules
    return (
        ScorePhase(recipe.decoder, recipe.scorers, recipe.limits.max_dead_share, recipe.limits.records),
        Identity(),
        *(
            Choose(rule, rules[:place])
            for place, rule in enumerate(rules)
            if isinstance(rule, ChooseRule) and rule.active
        ),
        Decide(rules),
        Materialize(recipe.shards.samples, recipe.shards.bytes, cluster="duplicate_image"),
    )
