"""The ledger: every score and verdict, dropped and dead included, in two tables that analysts query.

`ledger/documents` has one row a document, `ledger/media` one row a picture or clip, because a rule may take a picture
from a page and leave the page. Column names are snake_case and stable.
"""

from collections.abc import Iterable

import pyarrow as pa

DOCUMENTS = "ledger/documents"
MEDIA = "ledger/media"

# Columns in front of the scores; `pass_<rule>` columns follow them.
DOCUMENT_COLUMNS = (
    pa.field("uid", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("uri", pa.string()),
    pa.field("locator", pa.string(), nullable=False),  # JSON
    pa.field("licence", pa.string()),
    pa.field("outcome", pa.string(), nullable=False),  # kept | dropped | dead
    pa.field("rule", pa.string()),  # the first rule failed, with its bound: image.short_side.min
    pa.field("value", pa.string()),
    pa.field("bound", pa.string()),
    pa.field("dead_stage", pa.string()),
    pa.field("dead_reason", pa.string()),
    pa.field("dead_message", pa.string()),
)
MEDIA_COLUMNS = (
    pa.field("uid", pa.string(), nullable=False),
    pa.field("segment", pa.int32(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
    pa.field("bytes", pa.int64(), nullable=False),
    pa.field("extension", pa.string(), nullable=False),  # as the source named it
    pa.field("member", pa.string()),  # its name in the shard after the uid: jpg, 0.png; null if not there
    pa.field("rule", pa.string()),  # the rule that took this picture alone away
)
# What the decoder saw; written by the score phase beside the media scores.
DECODED_COLUMNS = (
    pa.field("decoded_format", pa.string()),
    pa.field("mode", pa.string()),
    pa.field("width", pa.int32()),  # as displayed
    pa.field("height", pa.int32()),
    pa.field("frames", pa.int32()),
    pa.field("orientation", pa.int32()),
    pa.field("policy", pa.string()),
)


def schema(front: Iterable[pa.Field], scores: Iterable[tuple[str, pa.DataType]], passes: Iterable[str]) -> pa.Schema:
    """The columns of one ledger table: fixed ones, scores in the family's order, passes in the rules' order."""
    return pa.schema(
        [
            *front,
            *(pa.field(name, kind) for name, kind in scores),
            *(pa.field(name, pa.bool_()) for name in passes),
        ]
    )
