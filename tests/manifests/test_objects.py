"""Buckets: a real S3 server that is busy, loses replies, conflicts and refuses."""

import os
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from manifests import objects
from manifests.errors import RunError, TransientError
from manifests.store import ATTEMPTS, Entry, Store
from tests import s3

ROOT = Path(__file__).parents[2]


def test_s3_honours_create_if_absent_itself(bucket, s3_here):
    """Not only our check: of the two PUTs the server refused the second."""
    assert bucket.create("a", b"1")
    assert not bucket.create("a", b"2")
    assert [method for method, _, _ in s3_here.gate.requests] == ["PUT", "PUT"], "no look before, none after"


@pytest.mark.parametrize("trouble", [["503"], ["429", "503", "503"], ["pass", "503"]])
def test_s3_busy_is_survived(bucket, s3_here, trouble):
    bucket.put("a", b"123")
    for method in ("GET", "PUT", "HEAD", "DELETE"):
        s3_here.gate.script[method] = list(trouble)
    assert bucket.read("a") == b"123"
    assert bucket.read_ranges("a", [(0, 1), (2, 1)]) == [b"1", b"3"]
    assert bucket.size("a") == 3
    assert [entry.path for entry in bucket.list()] == ["a"]
    bucket.put("b", b"1")
    assert bucket.create("c", b"1")
    bucket.delete("a")
    assert [entry.path for entry in bucket.list()] == ["b", "c"]


def test_s3_busy_for_long_is_transient_after_a_bounded_number_of_attempts(bucket, s3_here):
    s3_here.gate.script["GET"] = ["503"] * 100
    with pytest.raises(TransientError, match="503"):
        bucket.read("a")
    assert len(s3_here.gate.requests) == ATTEMPTS
    s3_here.gate.script["PUT"] = ["503"] * 100
    with pytest.raises(TransientError, match="503"):
        bucket.create("a", b"1")
    assert len(s3_here.gate.requests) == 2 * ATTEMPTS


def test_s3_create_whose_reply_was_lost(bucket, s3_here):
    s3_here.gate.script["PUT"] = ["lost"]
    assert bucket.create("a", b"mine"), "the repetition met our own file"
    s3_here.gate.script["PUT"] = ["503"]
    assert not bucket.create("a", b"other"), "the repetition met another's file"
    assert bucket.read("a") == b"mine"


def test_s3_conflict_means_to_look_again(bucket, s3_here):
    s3_here.gate.script["PUT"] = ["409", "409"]
    assert bucket.create("a", b"1"), "obstore calls a 409 'already exists', but there was nothing"
    assert bucket.read("a") == b"1"
    s3_here.gate.script["PUT"] = ["409"]
    assert not bucket.create("a", b"1"), "here there was"
    s3_here.gate.script["PUT"] = ["409"] * 100
    with pytest.raises(TransientError, match="409"):
        bucket.create("b", b"1")


def test_s3_refusals_name_the_address_and_the_remedy(bucket, s3_here):
    s3_here.gate.script["GET"] = ["403", "403"]
    for action in (lambda: bucket.read("a"), lambda: list(bucket.list())):
        with pytest.raises(RunError, match=r"s3://corpus/data.*permission denied; give these credentials access"):
            action()
    absent = Store("s3://no-such-bucket/x")
    for action in (lambda: absent.read("a"), lambda: list(absent.list()), lambda: absent.put("a", b"")):
        with pytest.raises(RunError, match=r"s3://no-such-bucket/x/.*there is no such bucket; make it"):
            action()


def test_s3_out_of_reach_is_transient(monkeypatch, s3_here):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(TransientError, match="s3://corpus/x/a"):
            Store("s3://corpus/x").read("a")


def test_s3_listing_of_more_than_a_page_goes_on_where_it_broke_off(bucket, s3_here):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: bucket.put(f"receipts/{n:06d}.json", b""), range(1100)))
    s3_here.gate.script["GET"] = ["pass", "503", "503"]
    found = bucket.list("receipts/")
    assert next(found) == Entry("receipts/000000.json", 0, '"d41d8cd98f00b204e9800998ecf8427e"')
    assert [entry.path for entry in found] == [f"receipts/{n:06d}.json" for n in range(1, 1100)]


def test_s3_names_that_obstore_cannot_have_are_named(bucket, s3_here):
    prefix = bucket.uri.removeprefix(f"s3://{s3.BUCKET}/")
    s3_here.client().put_object(Bucket=s3.BUCKET, Key=f"{prefix}/a//b", Body=b"1")
    with pytest.raises(RunError, match=r"cannot be used; rename it.*a//b"):
        list(bucket.list())
    with pytest.raises(ValueError, match="new"):
        bucket.put("new\nline", b"1")


def test_s3_large_upload_survives_busy_parts(bucket, s3_here, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(objects.WHOLE_UPLOAD * 2 + 1))
    s3_here.gate.script["PUT"] = ["pass", "503", "503"]
    bucket.put("big", big)
    parts = [happened for method, _, happened in s3_here.gate.requests if method == "PUT"]
    assert parts.count("pass") == 3, "only the parts that were refused went up again"
    assert bucket.read("big") == big.read_bytes()


def test_a_process_forked_after_a_bucket_was_used_is_told_so(bucket):
    """Otherwise it would wait for ever for threads that it does not have."""
    code = f"""
        import os
        from manifests.store import Store
        Store({bucket.uri!r}).put("a", b"1")
        if os.fork() == 0:
            try:
                Store({bucket.uri!r}).read("a")
            except Exception as error:
                print(type(error).__name__, error, flush=True)
            os._exit(0)
        os.wait()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=-1, text=True)
    assert done.stdout.startswith("RunError this worker was forked from a process that had already used a bucket")
