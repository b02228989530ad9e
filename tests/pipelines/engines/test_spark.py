"""The spark engine against the local one, with small phases: order, failures, resuming, lost workers, interrupts."""

import io
import json
import os
import signal
import threading
import time

import pyarrow as pa
import pytest

from manifests.errors import FailedTasks, RunError
from pipelines.engines import spark as engine_module
from pipelines.engines.local import LocalEngine
from pipelines.engines.spark import SparkEngine, chunk_batch, fold_buckets, mirror
from pipelines.engines.spark_session import check_java, check_options, defaults, first_line, output_file, reason
from pipelines.folder import RunFolder
from pipelines.progress import Progress
from tests.toys import LastDigits, Squares, counted, run_folder

TRUTH = {0: 12, 1: 24, 2: 0, 3: 0, 4: 24, 5: 12, 6: 24, 7: 0, 8: 0, 9: 24}
PHASES = (Squares(12), LastDigits())


def execute(phases, run: RunFolder) -> str:
    stream = io.StringIO()
    SparkEngine(2).execute(phases, run, Progress(stream))
    return stream.getvalue()


def files_of(run: RunFolder) -> dict[str, bytes]:
    """Every file of a run's work; receipts and commits without their seconds."""
    found = {}
    for entry in run.store.list("work/"):
        data = run.store.read(entry.path)
        if "/receipts/" in entry.path or entry.path.endswith("COMMIT.json"):
            data = json.dumps({key: value for key, value in json.loads(data).items() if key != "seconds"}).encode()
        found[entry.path] = data
    return found


def receipts_of(run: RunFolder, phase: str) -> dict[int, str]:
    """Task -> a tag that changes when its receipt is written again."""
    entries = run.store.list(run.path(phase, "receipts/"))
    return {int(entry.path.rsplit("/", 1)[1].split(".")[0]): entry.tag for entry in entries}


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> RunFolder:
    """What the local engine makes of PHASES."""
    run = run_folder(tmp_path_factory.mktemp("oracle"), PHASES)
    LocalEngine(2).execute(PHASES, run, Progress(quiet=True))
    return run


@pytest.fixture(scope="module")
def oracle(committed) -> dict[str, bytes]:
    return files_of(committed)


def test_work_is_the_local_engines_byte_for_byte_and_empty_buckets_commit_too(spark, tmp_path, oracle):
    run = run_folder(tmp_path, PHASES)
    said = execute(PHASES, run)
    assert counted(run) == TRUTH
    assert files_of(run) == oracle
    assert "squares                  12/12 tasks  120 documents" in said


def test_several_tasks_and_buckets_in_one_spark_task(spark, tmp_path, oracle, monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_PARTITIONS", 3)
    run = run_folder(tmp_path, PHASES)
    execute(PHASES, run)
    assert files_of(run) == oracle


def test_a_worker_killed_once_in_each_kind_of_step_costs_nothing(spark, tmp_path, oracle):
    flags = [tmp_path / name for name in ("body", "route", "fold")]
    for flag in flags:
        flag.touch()
    body, route, fold = [f"once:{flag}" for flag in flags]
    phases = (Squares(12, ((5, body),)), LastDigits(((0, route),), ((4, fold),)))
    run = run_folder(tmp_path / "out", phases)
    execute(phases, run)
    assert not any(flag.exists() for flag in flags), "each was killed"
    assert files_of(run) == oracle


def test_a_task_that_kills_its_worker_fails_alone_and_a_rerun_tries_only_that(spark, tmp_path, oracle):
    bad = (Squares(12, ((2, "die"), (4, "raise"))), LastDigits())
    run = run_folder(tmp_path, bad)
    with pytest.raises(FailedTasks) as caught:
        execute(bad, run)
    assert caught.value.failures == {2: "its worker died 3 times", 4: "ValueError: as asked"}
    before = receipts_of(run, "squares")
    assert sorted(before) == [0, 1, 3, *range(5, 12)]
    execute(PHASES, run)
    after = receipts_of(run, "squares")
    assert {task: after[task] for task in before} == before
    assert files_of(run) == oracle


def test_a_bucket_that_fails_is_folded_alone_the_next_time(spark, tmp_path, oracle):
    bad = (
        Squares(12),
        LastDigits(folding=((4, "raise"), (6, "die"))),
    )
    run = run_folder(tmp_path, bad)
    with pytest.raises(FailedTasks) as caught:
        execute(bad, run)
    assert caught.value.failures == {4: "ValueError: as asked", 6: "its worker died 3 times"}
    before = receipts_of(run, "last-digits")
    assert sorted(before) == [0, 1, 2, 3, 5, 7, 8, 9]
    execute(PHASES, run)
    assert {bucket: tag for bucket, tag in receipts_of(run, "last-digits").items() if bucket in before} == before
    assert files_of(run) == oracle


@pytest.mark.parametrize("how", ["raise", "die"])
def test_no_bucket_is_folded_while_a_routing_task_fails(spark, tmp_path, oracle, how):
    bad = (
        Squares(12),
        LastDigits(routing=((0, how),)),
    )
    run = run_folder(tmp_path, bad)
    with pytest.raises(FailedTasks) as caught:
        execute(bad, run)
    assert sorted(caught.value.failures) == list(range(10))
    why = {"raise": "ValueError: as asked", "die": "Python worker exited unexpectedly"}[how]
    assert why in caught.value.failures[3]
    assert receipts_of(run, "last-digits") == {}
    execute(PHASES, run)
    assert files_of(run) == oracle


@pytest.mark.parametrize(
    "phases",
    [
        (Squares(3, ((1, "stop"),)),),
        (
            Squares(3),
            LastDigits(routing=((0, "stop"),)),
        ),
        (
            Squares(3),
            LastDigits(folding=((7, "stop"),)),
        ),
    ],
    ids=["body", "route", "fold"],
)
def test_what_was_asked_for_wrongly_comes_out_in_its_own_words(spark, tmp_path, phases):
    run = run_folder(tmp_path, phases)
    with pytest.raises(RunError) as caught:
        execute(phases, run)
    assert str(caught.value) == "no such format"


def test_a_busy_store_is_tried_three_times_and_then_the_task_has_failed(spark, tmp_path):
    phases = (Squares(2, ((1, "busy"),)),)
    with pytest.raises(FailedTasks, match="503 slow down"):
        execute(phases, run_folder(tmp_path, phases))


def test_executors_that_write_elsewhere_are_found_out(spark):
    """Memory is each process's own, as a local folder is each machine's own."""
    phases = (Squares(2),)
    with pytest.raises(RunError, match=r"executors have another memory://\S+, or .* all machines share \(task 0 there"):
        execute(phases, run_folder("memory://elsewhere", phases))


def test_over_committed_phases_spark_is_not_started(committed, monkeypatch):
    monkeypatch.delattr(engine_module, "open_session")
    assert execute(PHASES, committed) == ""


def test_an_interrupt_cancels_the_job_and_leaves_a_state_that_resumes(spark, tmp_path, oracle):
    slow = (Squares(12, ((3, "sleep"), (9, "sleep"))), LastDigits())
    run = run_folder(tmp_path, slow)
    started = time.monotonic()
    interrupt = threading.Thread(target=interrupt_when, args=(lambda: len(receipts_of(run, "squares")) >= 2,))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        execute(slow, run)
    interrupt.join()
    assert time.monotonic() - started < 25, "a task that sleeps for 30 seconds was not waited for"
    assert spark.sparkContext.statusTracker().getActiveJobsIds() == []
    before = receipts_of(run, "squares")
    assert before
    assert not set(before) & {3, 9}
    execute(PHASES, run)
    assert {task: tag for task, tag in receipts_of(run, "squares").items() if task in before} == before
    assert files_of(run) == oracle


def interrupt_when(ready) -> None:
    while not ready():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def test_jobs_carry_the_name_of_their_phase(spark, tmp_path):
    run = run_folder(tmp_path, PHASES)
    execute(PHASES, run)
    for phase in PHASES:
        group = f"{phase.name}-{run.fingerprints[phase.name]}"
        assert len(spark.sparkContext.statusTracker().getJobIdsForGroup(group)) >= 1


def test_totals_are_mirrored_as_an_observation(spark):
    observation = mirror(spark, "decide", {"in": 7, "kept": 4, "dropped/image.short_side.min": 2, "dead/Truncated": 1})
    assert observation is not None
    assert observation.get == {
        "decide/in": 7,
        "decide/kept": 4,
        "decide/dropped/image.short_side.min": 2,
        "decide/dead/Truncated": 1,
    }


def test_a_bucket_whose_end_did_not_arrive_is_not_folded(tmp_path):
    """A stream of Arrow batches that a dying JVM cuts off reads like one that ended."""
    phases = (Squares(1), LastDigits())
    run = run_folder(tmp_path, phases)
    rows = pa.record_batch([pa.array([4]), pa.array([0])], schema=LastDigits.schema)
    whole = [chunk_batch([(0, rows.serialize().to_pybytes())]), ends([0])]
    cut = [chunk_batch([(1, rows.serialize().to_pybytes())])]
    folding = fold_buckets(LastDigits(), run, range(10), 4, None, iter([*whole, *cut]))
    assert json.loads(next(folding).column(0)[0].as_py()) == {"task": 0, "counts": {"rows": 1}}
    with pytest.raises(OSError, match="in the middle of a bucket"):
        next(folding)
    assert sorted(receipts_of(run, "last-digits")) == [0]


def ends(places: list[int]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(places, pa.int32()), pa.nulls(len(places), pa.binary())], engine_module.CHUNK)


def test_options_are_those_of_spark_submit():
    native = ["--master", "spark://host:7077", "--conf", "spark.executor.memory=4g", "--py-files=a.zip", "--verbose"]
    assert check_options(native) == {
        "--master": "spark://host:7077",
        "spark.executor.memory": "4g",
        "--py-files": "a.zip",
    }


@pytest.mark.parametrize(
    ("native", "message"),
    [
        (["--mastr", "local"], r"--mastr is not an option of Spark \(did you mean --master\?\)"),
        (["--runner=DataflowRunner"], "--runner=DataflowRunner is not an option of Spark"),
        (["corpus"], "corpus is not an option of Spark"),
        (["--master"], "--master needs a value"),
        (["--conf", "spark.executor.memory"], "spark.executor.memory: expected KEY=VALUE"),
    ],
)
def test_a_wrong_option_is_named_before_anything_starts(native, message):
    with pytest.raises(RunError, match=message):
        SparkEngine(2, native)


def test_options_cannot_change_a_session_that_runs(spark, tmp_path):
    phases = (Squares(1),)
    with pytest.raises(RunError, match=r"Spark is running already.*--master yarn"):
        SparkEngine(2, ["--master", "yarn"]).execute(phases, run_folder(tmp_path, phases), Progress(quiet=True))


def test_what_the_user_sets_is_left_as_set():
    assert defaults(3, {})["spark.master"] == "local[3,4]", "a plain local[3] would try a lost task once"
    assert defaults(3, {"spark.ui.enabled": "true"})["spark.ui.enabled"] == "true"
    assert "spark.driver.host" not in defaults(3, {"--master": "spark://host:7077"})


def test_a_machine_without_java_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"make apt.*default-jre-headless.*JAVA_HOME"):
        check_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(RunError, match=r"JAVA_HOME=.* holds no bin/java"):
        check_java()


def test_one_line_is_made_of_a_page_of_spark():
    page = """Job aborted due to stage failure: Task 0 in stage 7.0 failed 4 times, most recent failure: Lost task 0.3
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "pipelines/engines/spark.py", line 1, in route_tasks
manifests.errors.TransientError: the store answered 503

\tat org.apache.spark.api.python.BasePythonRunner.handlePythonException(PythonRunner.scala:581)
Driver stacktrace:"""
    assert first_line(RuntimeError(page)) == "TransientError: the store answered 503"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            """Invalid maximum heap size: -Xmxlots
            Error: Could not create the Java Virtual Machine.
            Error: A fatal exception has occurred. Program will exit.""",
            "Invalid maximum heap size: -Xmxlots",
        ),
        (
            """Exception in thread "main" org.apache.spark.SparkException: Master must start with spark, k8s, or local
            at org.apache.spark.deploy.SparkSubmit.error(SparkSubmit.scala:1047)""",
            "Master must start with spark, k8s, or local",
        ),
        ("", "JAVA_GATEWAY_EXITED"),
    ],
)
def test_a_session_that_did_not_start_says_why_in_one_line(tmp_path, output, line):
    log = tmp_path / "spark.log"
    log.write_text(output)
    assert reason(log, RuntimeError("JAVA_GATEWAY_EXITED")) == line


def test_sparks_own_words_are_kept_only_where_tasks_failed(caplog):
    with output_file() as unneeded:
        pass
    assert not unneeded.exists()
    with pytest.raises(RunError), output_file() as refused:
        raise RunError("no such format")
    assert not refused.exists()
    with pytest.raises(FailedTasks), output_file() as kept:
        raise FailedTasks("score", {3: "its worker died 3 times"})
    assert kept.exists()
    assert str(kept) in caplog.text
    kept.unlink()
