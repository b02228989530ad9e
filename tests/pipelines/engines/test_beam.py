"""The beam engine with small phases: order, failures, resuming, replays, metrics, interrupts, and a Dataflow graph."""

import hashlib
import io
import json
import re
import shlex
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.pipeline_utils import validate_pipeline_graph

from manifests.errors import FailedTasks, RunError
from pipelines.engines.beam import METRICS, BeamEngine, pipeline_options
from pipelines.engines.local import LocalEngine
from pipelines.folder import RunFolder
from pipelines.image_text import phases_of
from pipelines.ingest import Ingest
from pipelines.phase import AnyPhase, Result, Task
from pipelines.progress import Progress
from pipelines.recipe import load
from stages.readers.webdataset import WebDatasetReader
from tests.toys import LastDigits, Squares, run_folder

IN_MEMORY = ["--direct_running_mode=in_memory"]
TWO_THREADS = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
REPLAYED = [*IN_MEMORY, "--direct_runner_bundle_repeat=2"]
DATAFLOW = [
    "--runner=DataflowRunner",
    "--dry_run=true",
    "--project=a-project",
    "--region=europe-west4",
    "--temp_location=gs://a-valid-bucket/tmp",
    "--sdk_location=container",
    "--sdk_container_image=registry.example/winnow:1",
]


@dataclass(frozen=True)
class Digits(LastDigits):
    """LastDigits with a routing task for each part. trouble: what the second of them raises."""

    trouble: Exception | None = None

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return ({"first": part, "stop": part + 1} for part in range(run.commit(Squares.name)["tasks"]))

    def route(self, run: RunFolder, task: Task) -> tuple[pa.Table, Any]:
        if self.trouble is not None and task.index == 1:
            raise self.trouble
        return super().route(run, task)


@dataclass(frozen=True)
class Total:
    """One task that can only be planned once the exchange has committed."""

    name = "total"
    version = 1
    upstream = (Digits.name,)

    def config(self) -> Mapping[str, Any]:
        return {}

    def plan(self, run: RunFolder) -> Iterable[Mapping[str, Any]]:
        return [{"rows": run.commit(Digits.name)["counts"]["rows"]}]

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        return Result(counts={"total": task.params["rows"]})


@dataclass(frozen=True)
class Troubled(Squares):
    """Squares whose fourth task raises."""

    trouble: Exception | None = None

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        if task.index == 3 and self.trouble is not None:
            raise self.trouble
        return super().body(run, task, scratch)


@dataclass(frozen=True)
class Interrupted(Squares):
    """Squares in whose first task to run, whichever that is, somebody presses Ctrl-C."""

    def body(self, run: RunFolder, task: Task, scratch: Path) -> Result:
        if run.store.create("pressed", b""):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.02)
        return super().body(run, task, scratch)


PHASES = (Squares(6), Digits(), Total())


def execute(native: list[str], phases: Sequence[AnyPhase], run: RunFolder) -> str:
    """What progress said."""
    stream = io.StringIO()
    BeamEngine(native).execute(phases, run, Progress(stream))
    return stream.getvalue()


def files_of(run: RunFolder) -> dict[str, str]:
    """Path -> SHA-256 of every file; of receipts and commits, of all but the seconds in them."""
    out = {}
    for entry in run.store.list("work/"):
        data = run.store.read(entry.path)
        if "/receipts/" in entry.path or entry.path.endswith("COMMIT.json"):
            value = json.loads(data)
            data = json.dumps({key: item for key, item in value.items() if key != "seconds"}).encode()
        out[entry.path] = hashlib.sha256(data).hexdigest()
    return out


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the local engine writes."""
    run = run_folder(tmp_path_factory.mktemp("oracle"), PHASES)
    LocalEngine(2).execute(PHASES, run, Progress(quiet=True))
    return files_of(run)


@pytest.mark.parametrize("native", [IN_MEMORY, TWO_THREADS, REPLAYED], ids=["in-memory", "two-threads", "replayed"])
def test_the_same_bytes_as_the_local_engine(native: list[str], oracle: dict[str, str], tmp_path: Path) -> None:
    run = run_folder(tmp_path, PHASES)
    execute(native, PHASES, run)
    assert files_of(run) == oracle
    assert run.commit("total")["counts"] == {"total": 60}
    assert json.loads(run.store.read(run.data(Digits.name, 2, "count.json")))["squares"] == 0, (
        "an empty bucket is folded"
    )


def test_a_failed_task_stops_what_comes_after_and_a_rerun_tries_only_it(oracle: dict[str, str], tmp_path: Path) -> None:
    phases = (Squares(6, ((2, "raise"),)), *PHASES[1:])
    run = run_folder(tmp_path, phases)
    with pytest.raises(FailedTasks, match=r"1 task.* of phase squares failed; task 2: ValueError: as asked"):
        execute(IN_MEMORY, phases, run)
    written = {entry.path: entry.tag for entry in run.store.list("work/squares")}
    assert not list(run.store.list("work/last-digits")), "nothing is planned before the phase before it committed"
    execute(IN_MEMORY, PHASES, run)
    assert files_of(run) == oracle
    for entry in run.store.list("work/squares"):
        assert entry.path not in written or written[entry.path] == entry.tag, f"{entry.path} was written again"


def test_over_committed_phases_no_job_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_folder(tmp_path, PHASES)
    execute(IN_MEMORY, PHASES, run)
    monkeypatch.delattr(BeamEngine, "pipeline")
    assert execute(IN_MEMORY, PHASES, run) == ""


@pytest.mark.parametrize(("where", "native"), [("task", TWO_THREADS), ("route", IN_MEMORY)], ids=["task", "route"])
def test_a_run_error_in_a_worker_comes_out_in_its_own_words(
    where: str, native: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    error = RunError("no such format; choose another")
    phases = (Troubled(6, trouble=error),) if where == "task" else (Squares(6), Digits(trouble=error))
    with pytest.raises(RunError) as caught:
        execute(native, phases, run_folder(tmp_path, PHASES))
    assert str(caught.value) == "no such format; choose another"
    assert "Traceback" not in capfd.readouterr().err, "a person reads one line, not Beam's account of it"


def test_a_run_error_of_an_earlier_run_is_forgotten(oracle: dict[str, str], tmp_path: Path) -> None:
    run = run_folder(tmp_path, PHASES)
    with pytest.raises(RunError):
        execute(IN_MEMORY, (Troubled(6, trouble=RunError("no such format")),), run)
    execute(IN_MEMORY, PHASES, run)
    assert files_of(run) == oracle


def test_a_routing_task_that_fails_leaves_no_bucket_folded_without_its_rows(
    oracle: dict[str, str], tmp_path: Path
) -> None:
    broken = (Squares(6), Digits(trouble=OSError("the disk went away")), Total())
    run = run_folder(tmp_path, broken)
    with pytest.raises(FailedTasks, match=r"phase last-digits failed.*OSError: the disk went away"):
        execute(TWO_THREADS, broken, run)
    assert not list(run.store.list(run.path(Digits.name, "receipts/")))
    execute(TWO_THREADS, PHASES, run)
    assert files_of(run) == oracle


@pytest.mark.parametrize("native", [TWO_THREADS, REPLAYED], ids=["two-threads", "replayed"])
def test_receipt_counts_are_mirrored_to_beam_metrics_once(native: list[str], tmp_path: Path) -> None:
    run = run_folder(tmp_path, PHASES)
    result = BeamEngine(native).pipeline(PHASES, run).run()
    counters: dict[str, int] = {}
    for counter in result.metrics().query()["counters"]:
        assert counter.key.metric.namespace == METRICS
        counters[counter.key.metric.name] = counter.committed
    assert counters == {
        f"{phase.name}/{name}": number for phase in PHASES for name, number in run.commit(phase.name)["counts"].items()
    }
    assert counters["squares/dropped/odd.max"] == 6


def test_a_resumed_exchange_folds_and_counts_only_the_buckets_without_a_receipt(
    oracle: dict[str, str], tmp_path: Path
) -> None:
    run = run_folder(tmp_path, PHASES)
    execute(IN_MEMORY, PHASES, run)
    for name in ("COMMIT.json", "receipts/000004.json"):
        run.store.delete(run.path(Digits.name, name))
    result = BeamEngine(IN_MEMORY).pipeline((Digits(),), run).run()
    counted = {counter.key.metric.name: counter.committed for counter in result.metrics().query()["counters"]}
    assert counted == {"last-digits/rows": 12}
    assert files_of(run) == oracle


def test_progress_tells_phases_and_tasks_from_receipts(tmp_path: Path) -> None:
    said = execute(IN_MEMORY, PHASES, run_folder(tmp_path, PHASES))
    lines = [line.split()[:2] for line in said.splitlines()]
    assert lines == [["squares", "6/6"], ["last-digits", "10/10"], ["total", "1/1"]]
    assert "60 documents" in said
    assert "kept 90.0%" in said


def test_an_interrupt_leaves_what_is_done_and_begins_no_more(tmp_path: Path) -> None:
    phases = (Interrupted(100), Digits())
    run = run_folder(tmp_path, phases)
    with pytest.raises(KeyboardInterrupt):
        execute(IN_MEMORY, phases, run)
    done = len(list(run.store.list(run.path(Squares.name, "receipts/"))))
    assert 1 <= done < 90, "the task under way ends, others do not begin"
    execute(IN_MEMORY, (Squares(100), Digits()), run)
    assert run.commit(Digits.name)["counts"]["rows"] == 1000


@pytest.mark.parametrize(
    ("native", "words"),
    [
        (["--nonsense=1"], "no option --nonsense"),
        (["direct"], "no option direct"),
        (["--direct_running_mode=fast"], "invalid choice: 'fast'"),
    ],
)
def test_an_option_that_beam_does_not_know_is_one_line(native: list[str], words: str) -> None:
    with pytest.raises(RunError, match=words) as caught:
        BeamEngine(native)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("native", "words"),
    [(["--runner=DataflowRunner", "--region=europe-west4"], "project"), (["--runner=NoSuchRunner"], "NoSuchRunner")],
)
def test_what_a_runner_lacks_is_one_line(native: list[str], words: str) -> None:
    with pytest.raises(RunError, match=f"Beam refuses the options after --: .*{words}") as caught:
        BeamEngine(native).pipeline(PHASES, run_folder("gs://a-valid-bucket/output", PHASES))
    assert "\n" not in str(caught.value)


def test_workers_in_a_cloud_are_not_sent_to_a_local_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"DataflowRunner works elsewhere and cannot reach .*: give a bucket"):
        execute(DATAFLOW, PHASES, run_folder(tmp_path, PHASES))


def test_a_local_runner_by_any_name_is_the_one_that_downloads_nothing(tmp_path: Path) -> None:
    assert all(pipeline_options([f"--runner={name}"])[1] for name in ("DirectRunner", "direct", "FnApiRunner"))
    pipeline = BeamEngine(["--runner=DirectRunner"]).pipeline((), run_folder(tmp_path, PHASES))
    assert type(pipeline.runner).__name__ == "FnApiRunner"


@pytest.mark.parametrize(
    ("native", "mode", "workers"),
    [
        ([], "multi_threading", 0),
        (["--direct_num_workers=3"], "multi_threading", 3),
        (IN_MEMORY, "in_memory", 1),
        (["--direct_running_mode", "multi_processing", "--direct_num_workers=2"], "multi_processing", 2),
    ],
)
def test_the_local_default_is_a_thread_for_each_core_and_yields_to_options(
    native: list[str], mode: str, workers: int
) -> None:
    direct = pipeline_options(native)[0].view_as(DirectOptions)
    assert (direct.direct_running_mode, direct.direct_num_workers) == (mode, workers)


@pytest.fixture(scope="module")
def dataflow_graph() -> Any:
    """A whole curation as it would be submitted, built without a network."""
    bucket = "gs://a-valid-bucket"
    ingest = Ingest(WebDatasetReader("pictures"), f"{bucket}/input", listing="0" * 64)
    phases = (ingest, *phases_of(load("image-text-light")))
    run = replace(run_folder(f"{bucket}/output", phases), input=f"{bucket}/input")
    result: Any = BeamEngine(DATAFLOW).pipeline(phases, run).run()
    graph = result.job.proto_pipeline
    validate_pipeline_graph(graph)
    return graph


def test_a_dataflow_job_has_one_composite_a_phase_in_order(dataflow_graph: Any) -> None:
    transforms = dataflow_graph.components.transforms
    (root,) = (transforms[name] for name in dataflow_graph.root_transform_ids)
    assert [transforms[name].unique_name for name in root.subtransforms] == [
        "start",
        "ingest",
        "score",
        "identity",
        "choose-duplicate-pair",
        "choose-duplicate-image",
        "choose-duplicate-caption",
        "decide",
        "materialize",
    ]
    names = {transform.unique_name for transform in transforms.values()}
    assert {f"score/{step}" for step in ("plan", "spread", "run", "barrier", "commit")} <= names
    assert {f"identity/{step}" for step in ("plan", "spread", "route", "exchange", "fold", "commit")} <= names


def test_a_dataflow_job_is_small_and_brings_nothing_but_the_image(dataflow_graph: Any) -> None:
    assert dataflow_graph.ByteSize() < 10_000_000, "Dataflow refuses larger graphs"
    (environment,) = dataflow_graph.components.environments.values()
    assert environment.urn == "beam:env:docker:v1"
    assert b"registry.example/winnow:1" in environment.payload
    staged = [dependency.role_payload for dependency in environment.dependencies]
    assert not any(b"pickled_main_session" in name for name in staged)


def test_only_integers_and_bytes_move_between_steps(dataflow_graph: Any) -> None:
    components = dataflow_graph.components

    def kinds(coder: str) -> Iterator[str]:
        yield components.coders[coder].spec.urn.split(":")[2]
        for part in components.coders[coder].component_coder_ids:
            yield from kinds(part)

    for collection in components.pcollections.values():
        if "/spread/" not in collection.unique_name:  # Beam's own: a task number with a random key, time and window
            assert set(kinds(collection.coder_id)) <= {"bytes", "varint", "kv", "iterable"}, collection.unique_name


ROOT = Path(__file__).parents[3]


def test_the_guide_names_steps_and_options_that_there_are(dataflow_graph: Any) -> None:
    guide = (ROOT / "docs" / "dataflow.md").read_text()
    (command,) = re.findall(r"^winnow run .*?[^\\]$", guide, re.MULTILINE | re.DOTALL)
    words = shlex.split(command.replace("\\\n", " ").replace("$IMAGE", "registry.example/winnow:1"))
    BeamEngine(words[words.index("--") + 1 :])
    names = {transform.unique_name for transform in dataflow_graph.components.transforms.values()}
    (phases, steps) = re.findall(r"a step for each phase: (.*?)\. Inside each are\s(.*?)\.", guide, re.DOTALL)[0]
    for phase in re.findall(r"`([a-z-]+)`", phases):
        assert phase in names, phase
    for step in re.findall(r"`([a-z]+)`", steps):
        assert f"score/{step}" in names or f"identity/{step}" in names, step


def test_the_workers_image_has_the_pinned_beam() -> None:
    recipe = (ROOT / "Dockerfile").read_text()
    (pinned,) = re.findall(r"^apache-beam==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert re.findall(r"^ARG BEAM=(.*)$", recipe, re.MULTILINE) == [pinned]
    assert re.findall(r"^ARG PYTHON=(.*)$", recipe, re.MULTILINE)[0] in ("3.11", "3.12")
    for folder in re.findall(r"^COPY (\w+) \w+$", recipe, re.MULTILINE):
        assert (ROOT / folder / "__init__.py").is_file(), folder
