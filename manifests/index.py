"""The index: one row a sample, written with its shard, so that a trainer reads one picture by its range."""

import pyarrow as pa

MEMBER = pa.struct(
    [
        pa.field("name", pa.string()),  # in the tar, after the uid and its dot: jpg, 0.png, json, txt
        pa.field("offset", pa.int64()),  # of the payload in the tar
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),  # as displayed; null for what is not a picture or clip
        pa.field("height", pa.int32()),
        pa.field("frames", pa.int32()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("members", pa.list_(MEMBER), nullable=False),
        pa.field("characters", pa.int32(), nullable=False),  # of all text segments
        pa.field("source", pa.string(), nullable=False),
        pa.field("licence", pa.string()),
        pa.field("cluster", pa.string()),  # 32 hex digits: samples that share it must share a split
        pa.field("split", pa.string(), nullable=False),  # train | validation
    ]
)


def path_of(shard: str) -> str:
    """index/train-000000.parquet for shards/train-000000.tar."""
    return "index/" + shard.removeprefix("shards/").removesuffix(".tar") + ".parquet"
