"""Every reader works on a store that is no folder of this machine."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.store import Store
from stages.readers.base import Range
from stages.readers.detect import make_reader


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, content in (("0.jpg", b"photo"), ("0.txt", b"Two cats")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


def table() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"uid": ["0"], "jpg": [b"photo"], "caption": ["Two cats"]}), out)
    return out.getvalue()


INPUTS = {
    "folder": {"d/a b.jpg": b"photo", "d/a b.txt": b"Two cats"},
    "webdataset": {"d/0.tar": tar()},
    "parquet": {"d/0.parquet": table()},
    "html": {"d/é.html": b"<img src='i/a%20b.jpg' alt='Two cats'>", "d/i/a b.jpg": b"photo"},
}


@pytest.mark.parametrize("format", INPUTS)
def test_a_bucket_is_read_like_a_folder(format, tmp_path, read_all):
    stores = Store(f"memory://readers-{format}"), Store(str(tmp_path))
    for store in stores:
        for path, content in INPUTS[format].items():
            store.put(path, content)
    remote, local = (read_all(make_reader("auto", store.uri, source="s"), store) for store in stores)
    assert remote.captions == ["Two cats"]
    assert remote.items == local.items
    (payload,) = remote.candidates[0].payloads
    assert (
        stores[0].read_range(payload.path, payload.offset, payload.size) if isinstance(payload, Range) else payload
    ) == b"photo"
