"""A real Spark cluster on loopback: a master and two workers, whose executors and drivers are killed in mid-run.

Left out unless asked for: `make spark-cluster-test`.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pyspark
import pytest

from manifests.store import Store
from manifests.verify import verify
from synth import corpus
from tests.corpora import digests
from tests.tars import small_tasks
from winnow import command

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SPARK_CLASS = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
SUBMIT = str(Path(pyspark.__file__).parent / "bin" / "spark-submit")
EXECUTOR = "CoarseGrainedExecutorBackend"
PICTURES, PICTURES_A_TAR = 600, 20

# Runs the command with a task for each tar.
SCRIPT = """
import sys
from tests.tars import small_tasks
from winnow.command import main

with small_tasks():
    sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Cluster:
    """master: its address. script: the command as a file. workers: the process of each."""

    master: str
    script: Path
    workers: tuple[psutil.Process, ...]
    environment: dict[str, str]

    def start(self, source: Path, output: Path) -> subprocess.Popen[str]:
        own = ["run", "image-text-light", "--input", str(source), "--output", str(output), "--engine", "spark"]
        native = ["--master", self.master, "--executor-memory", "512m", *LOOPBACK]
        line = [sys.executable, str(self.script), *own, "--", *native]
        return subprocess.Popen(line, env=self.environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def executors(self) -> list[psutil.Process]:
        return [
            child for worker in self.workers for child in worker.children(recursive=True) if EXECUTOR in line_of(child)
        ]


LOOPBACK = ["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"]


def line_of(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "TMPDIR": str(folder),
    }
    master = f"spark://127.0.0.1:{port}"
    script = folder / "driver.py"
    script.write_text(SCRIPT)
    started: list[subprocess.Popen[bytes]] = []

    def start(host: str, name: str, *arguments: str) -> psutil.Process:
        line = [SPARK_CLASS, f"org.apache.spark.deploy.{name}", "--host", host, "--webui-port", "0", *arguments]
        log = (folder / f"{host}.log").open("wb")
        started.append(
            subprocess.Popen(
                line, env={**environment, "SPARK_LOCAL_IP": host}, stdout=log, stderr=log, start_new_session=True
            )
        )
        return psutil.Process(started[-1].pid)

    try:
        start("127.0.0.1", "master.Master", "--port", port)
        wait(partial(says, folder / "127.0.0.1.log", "I have been elected leader"), "the master to start")
        own = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / "work"), master]
        workers = tuple(start(f"127.0.0.{place}", "worker.Worker", *own) for place in (2, 3))
        for place in (2, 3):
            log = folder / f"127.0.0.{place}.log"
            wait(partial(says, log, "Successfully registered"), f"worker {place} to register")
        yield Cluster(master, script, workers, environment)
    finally:
        end([process.pid for process in reversed(started)])


def says(log: Path, words: str) -> bool:
    return words in log.read_text(errors="replace")


def wait(until: Callable[[], object], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def end(pids: list[int]) -> None:
    """Kills these processes and all that they have started, whatever state they are in."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    for process in found.values():
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(list(found.values()), timeout=20)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "tars"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "PICTURES_A_TAR", PICTURES_A_TAR)
        corpus.render_webdataset(folder, PICTURES)
    return folder


@pytest.fixture(scope="module")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local engine makes of it."""
    output = tmp_path_factory.mktemp("local") / "dataset"
    with small_tasks():
        line = ["run", "image-text-light", "--input", str(source), "--output", str(output), "--quiet"]
        assert command.main(line) == 0
    return output


def receipts(output: Path, phase: str) -> int:
    return len(list((output / "work").glob(f"{phase}-*/receipts/*.json")))


def committed(output: Path, phase: str) -> bool:
    return bool(list((output / "work").glob(f"{phase}-*/COMMIT.json")))


def test_an_executor_that_is_killed_in_mid_run_costs_nothing(cluster, source, dataset, tmp_path):
    output = tmp_path / "dataset"
    driver = cluster.start(source, output)
    try:
        wait(lambda: receipts(output, "score") >= 3 or driver.poll() is not None, "the first scores")
        victim = cluster.executors()[0]
        victim.kill()
        assert not committed(output, "score"), "it was killed in the middle of a phase"
        _, said = driver.communicate(timeout=200)
    finally:
        end([driver.pid])
    assert driver.returncode == 0, said
    assert not victim.is_running()
    assert digests(output) == digests(dataset)
    assert verify(Store(str(output))) == []


def test_a_driver_that_is_killed_is_resumed_by_the_same_command(cluster, source, dataset, tmp_path):
    output = tmp_path / "dataset"
    driver = cluster.start(source, output)
    try:
        wait(lambda: receipts(output, "score") >= 3 or driver.poll() is not None, "the first scores")
        driver.send_signal(signal.SIGKILL)
        driver.wait(20)
        before = receipts(output, "score")
        assert not committed(output, "score"), "it was killed in the middle of a phase"
    finally:
        end([driver.pid])
    wait(lambda: not cluster.executors(), "the executors to end with their driver")
    driver = cluster.start(source, output)
    try:
        _, said = driver.communicate(timeout=200)
    finally:
        end([driver.pid])
    assert driver.returncode == 0, said
    assert before < receipts(output, "score")
    assert digests(output) == digests(dataset)


def test_spark_submit_runs_the_command(cluster, source, dataset, tmp_path):
    """As docs/spark.md says; without small tasks, so the dataset is compared by what it holds."""
    output = tmp_path / "dataset"
    line = [SUBMIT, "--master", cluster.master, *LOOPBACK, "--executor-memory", "512m", str(command.__file__)]
    line += ["run", "image-text-light", "--input", str(source), "--output", str(output), "--engine", "spark", "--quiet"]
    environment = {**cluster.environment, "PYSPARK_DRIVER_PYTHON": sys.executable}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{PICTURES} documents" in done.stdout
    assert verify(Store(str(output))) == []
