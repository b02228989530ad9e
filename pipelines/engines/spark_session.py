"""The Spark session that the spark engine runs in: the user's own where there is one, else one that is quick and quiet.

Spark's own output goes to a file that is shown when something is wrong, and removed when nothing is.
"""

import contextlib
import difflib
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from manifests.errors import FailedTasks, RunError
from pipelines.progress import Progress

log = logging.getLogger("winnow")

# What spark-submit takes, without what only it can do (--class, --kill, --status, --help).
WITH_VALUE = (
    "--archives", "--conf", "--deploy-mode", "--driver-class-path", "--driver-java-options", "--driver-library-path",
    "--driver-memory", "--exclude-packages", "--executor-cores", "--executor-memory", "--files", "--jars", "--keytab",
    "--master", "--name", "--num-executors", "--packages", "--principal", "--properties-file", "--proxy-user",
    "--py-files", "--queue", "--remote", "--repositories", "--total-executor-cores", "-c",
)  # fmt: skip
FLAGS = ("--load-spark-defaults", "--verbose", "-v")
TRIES = 4  # of a task on this machine: plain local[2] would try once
SUBMITTED = "PYSPARK_GATEWAY_PORT"  # set by spark-submit, which has decided everything before Python starts


def check_options(native: Sequence[str]) -> dict[str, str]:
    """Options as spark-submit spells them, `--conf` ones by their own name. RunError names what Spark has not."""
    found: dict[str, str] = {}
    words = iter(native)
    for word in words:
        name, equals, value = word.partition("=")
        if name in FLAGS:
            continue
        if name not in WITH_VALUE:
            near = difflib.get_close_matches(name, WITH_VALUE, 1, 0.6)
            raise RunError(
                f"{word} is not an option of Spark" + (f" (did you mean {near[0]}?)" if near else "")
                + "; after -- come spark-submit's, such as --master spark://host:7077 --conf spark.executor.memory=4g"
            )  # fmt: skip
        if not equals:
            value = next(words, "")
        if not value:
            raise RunError(f"Spark's option {name} needs a value")
        if name in ("--conf", "-c"):
            name, equals, value = value.partition("=")
            if not equals:
                raise RunError(f"--conf {name}: expected KEY=VALUE, such as spark.executor.memory=4g")
        found[name] = value
    return found


@contextlib.contextmanager
def open_session(workers: int, native: Sequence[str], progress: Progress) -> Iterator[SparkSession]:
    """The active session, left as it is; else a new one, stopped afterwards."""
    active = SparkSession.getActiveSession()
    if native and (active is not None or SUBMITTED in os.environ):
        raise RunError(
            f"Spark is running already, so options after -- come too late: {shlex.join(native)}; "
            "give them to spark-submit or to the session"
        )
    if active is not None:
        yield active
        return
    options = check_options(native)
    if SUBMITTED in os.environ:
        with SparkSession.builder.appName("winnow").getOrCreate() as session:
            yield session
        return
    progress.say(f"  starting Spark on {options.get('--master') or options.get('spark.master') or 'this machine'}")
    with output_file() as output, start(workers, native, options, output) as session:
        yield session


def start(workers: int, native: Sequence[str], options: dict[str, str], output: Path) -> SparkSession:
    """A new session. output: where the JVM writes. RunError says why there is none, from Spark's own words."""
    python = options.get("spark.pyspark.python") or os.environ.get("PYSPARK_PYTHON") or sys.executable
    os.environ["PYSPARK_PYTHON"] = python  # the only place where PySpark looks for it
    if "--remote" in options:
        return SparkSession.builder.remote(options["--remote"]).getOrCreate()
    check_java()
    configuration = SparkConf(loadDefaults=False)
    for key, value in defaults(workers, options).items():
        configuration.set(key, value)
    try:
        if SparkContext._gateway is None:
            with submit_arguments(native), output.open("wb") as stream:
                # PySpark's own way to give the JVM another place to write to.
                gateway = launch_gateway(configuration, {"stdout": stream, "stderr": stream})
            SparkContext(conf=configuration, gateway=gateway)
        return SparkSession.builder.config(conf=configuration).getOrCreate()
    except Exception as error:
        raise RunError(f"Spark did not start: {reason(output, error)}") from error


def defaults(workers: int, options: dict[str, str]) -> dict[str, str]:
    """Settings of a session of ours, under those that the user gave."""
    master = options.get("--master") or options.get("spark.master") or f"local[{workers},{TRIES}]"
    values = {
        "spark.master": master,
        "spark.app.name": options.get("--name", "winnow"),
        "spark.ui.showConsoleProgress": "false",
        "spark.python.worker.faulthandler.enabled": "true",  # a worker that dies in native code says where
        "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
    }
    if master.startswith("local"):
        values |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.python.daemon.module": "pipelines.engines.spark_daemon",
            "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",  # this JVM only schedules
        }
    given = {key: value for key, value in options.items() if key.startswith("spark.")}
    return {**values, **given}


def check_java() -> None:
    """RunError where there is no Java at all; one that is too old says so itself."""
    home = os.environ.get("JAVA_HOME")
    if home and not os.access(Path(home) / "bin" / "java", os.X_OK):
        raise RunError(f"the spark engine needs Java 17 or later, and JAVA_HOME={home} holds no bin/java: correct it")
    if not home and shutil.which("java") is None:
        raise RunError(
            "the spark engine needs Java 17 or later: run 'make apt' as root, install default-jre-headless, "
            "or set JAVA_HOME to one"
        )


@contextlib.contextmanager
def submit_arguments(native: Sequence[str]) -> Iterator[None]:
    """Hands the user's options to spark-submit, which PySpark starts, so that they mean what they mean there."""
    before = os.environ.get("PYSPARK_SUBMIT_ARGS")
    inherited = shlex.split(before or "")
    words = [*(word for word in inherited if word != "pyspark-shell"), *native, "pyspark-shell"]
    os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join(words)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYSPARK_SUBMIT_ARGS"]
        else:
            os.environ["PYSPARK_SUBMIT_ARGS"] = before


@contextlib.contextmanager
def output_file() -> Iterator[Path]:
    """Where the JVM writes what it would write to the terminal; it stays when something went wrong."""
    handle, name = tempfile.mkstemp(prefix="winnow-spark-", suffix=".log")
    os.close(handle)
    try:
        yield Path(name)
    except FailedTasks:
        log.warning("what Spark itself had to say is in %s", name)
        raise
    except BaseException:
        os.unlink(name)
        raise
    os.unlink(name)


def reason(output: Path, error: Exception) -> str:
    """The line of Spark's output that says most: its error, an exception, or the last line."""
    lines = [line.strip() for line in output.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("Error:", "Exception in", "Caused by:"))]
    if "Error: Could not create the Java Virtual Machine." in lines[1:]:
        telling = [lines[lines.index("Error: Could not create the Java Virtual Machine.") - 1]]
    line = telling[-1] if telling else first_line(error) or (lines[-1] if lines else "")
    return EXCEPTION.sub("", line)[:500]


EXCEPTION = re.compile(r"^(Error: |Caused by: |Exception in thread \S+ )([\w.$]+(Exception|Error): )?")
PYTHON_ERROR = re.compile(r"^(?:[a-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Failure)): (.+)$", re.MULTILINE)
JOB_ERROR = re.compile(r"(?:Job aborted due to stage failure|org\.apache\.spark\.\w*Exception): (.+)$", re.MULTILINE)


def first_line(error: BaseException) -> str:
    """One line of an error that Spark has made a page of: what a worker raised, or why Spark ended the job."""
    text = str(error)
    raised = [match for match in PYTHON_ERROR.finditer(text) if not match[0].startswith(("org.", "java.", "py4j."))]
    if raised:
        return f"{raised[-1][1]}: {raised[-1][2]}"[:500]
    ended = JOB_ERROR.search(text)
    line = ended[1] if ended else next(iter(text.splitlines()), "")
    return (line.strip() or type(error).__name__)[:500]
