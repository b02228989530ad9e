"""The `winnow` command. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 verification failed, 2 usage or configuration, 3 failed tasks (a rerun tries only those),
130 interrupted (a rerun resumes).
"""

import argparse
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from manifests.errors import FailedTasks, RunError, TransientError

DONE, VERIFICATION_FAILED, USAGE, FAILED, INTERRUPTED = 0, 1, 2, 3, 130
ENGINES = ("local", "beam", "spark")
FORMATS = ("auto", "folder", "webdataset", "parquet", "html")


class Parser(argparse.ArgumentParser):
    """argparse with one clear line for a mistake, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise RunError(f"{message} (see: {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    logging.basicConfig(level=os.environ.get("WINNOW_LOG", "WARNING").upper(), format="winnow: %(message)s")
    try:
        own, native = split_native(arguments)
        options = parser().parse_args(own)
        if native and getattr(options, "engine", "local") == "local":
            raise RunError(
                f"options after -- are for the beam and spark engines; the local engine has none: {shlex.join(native)}"
            )
        options.native = native
        return int(options.function(options))
    except RunError as error:
        print(f"winnow: {error}", file=sys.stderr)
        return USAGE
    except FailedTasks as error:
        print(f"winnow: {error}\nwinnow: run the same command again: only those tasks are tried", file=sys.stderr)
        return FAILED
    except TransientError as error:
        print(f"winnow: {error}\nwinnow: the store was busy; run the same command again to go on", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nwinnow: interrupted; run the same command again to go on from here", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def split_native(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is before and after `--`."""
    if "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def parser() -> Parser:
    top = Parser(prog="winnow", description="Turns raw multimodal material into audited training shards.")
    top.add_argument("--version", action="version", version=f"winnow {version()}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)

    sample = command(
        commands, "sample", do_sample, "fetch real pages with pictures to try things on", "winnow sample corpus"
    )
    sample.add_argument("directory", metavar="DIR", help="where to put it")
    sample.add_argument(
        "--from", dest="from_directory", metavar="DIR", help="take an unpacked copy instead of packages"
    )
    sample.add_argument(
        "--synthetic", type=positive, metavar="N", help="render N pictures instead: not real, and says so"
    )
    sample.add_argument("--json", action="store_true", help="print one JSON object")

    example = "winnow run image-text-light --input corpus --output curated --set image.short_side.min=128"
    run = command(commands, "run", do_run, "curate a raw input into shards, ledger, manifest and report", example)
    run.add_argument("recipe", metavar="RECIPE", help="a name from `winnow recipes`, or a YAML file")
    run.add_argument("--input", required=True, metavar="URI", help="folder or bucket (s3://, gs://, az://) to read")
    run.add_argument(
        "--format", default="auto", metavar="NAME", help=f"what the input is: {', '.join(FORMATS)} (default: auto)"
    )
    run.add_argument(
        "--source", metavar="NAME", help="name of the source in every uid (default: the input's last part)"
    )
    run.add_argument("--licence", metavar="TEXT", help="licence of documents that state none themselves")
    run.add_argument("--media-root", metavar="URI", help="parquet with paths: the folder that they are relative to")
    run.add_argument(
        "--ingest",
        choices=("reference", "copy"),
        default="reference",
        help="webdataset: leave the tars where they are, or copy",
    )
    run.add_argument("--limit", type=positive, metavar="N", help="only the first N documents")
    add_running(run)

    example = "winnow select curated --set image.short_side.min=128 --output curated-128"
    select = command(
        commands,
        "select",
        do_select,
        "other thresholds from an earlier run's scores, without decoding a pixel",
        example,
    )
    select.add_argument("directory", metavar="DIR", help="the earlier run's output")
    add_running(select)

    recipes = command(
        commands, "recipes", do_recipes, "list recipes, or every key of one", "winnow recipes image-text-light"
    )
    recipes.add_argument("name", nargs="?", metavar="NAME")
    recipes.add_argument("--json", action="store_true", help="print one JSON object")

    explain = command(
        commands, "explain", do_explain, "why one document was kept, dropped or dead", "winnow explain curated 3f2a…"
    )
    explain.add_argument("directory", metavar="DIR")
    explain.add_argument("uid", metavar="UID", help="its uid, or the first digits of it")
    explain.add_argument("--json", action="store_true", help="print one JSON object")

    report = command(commands, "report", do_report, "write report.html again", "winnow report curated")
    report.add_argument("directory", metavar="DIR")
    report.add_argument("--output", metavar="FILE", help="where to (default: DIR/report.html)")

    verify = command(
        commands,
        "verify",
        do_verify,
        "check every file, member and count against the manifest",
        "winnow verify curated",
    )
    verify.add_argument("directory", metavar="DIR")
    verify.add_argument("--json", action="store_true", help="print one JSON object")

    clean = command(
        commands, "clean", do_clean, "remove a run's work folder; the dataset stays", "winnow clean curated"
    )
    clean.add_argument("directory", metavar="DIR")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    return top


def command(
    commands: Any, name: str, function: Callable[[Any], int], about: str, example: str
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"example: {example}"
    )
    made.set_defaults(function=function)
    return made


def add_running(made: argparse.ArgumentParser) -> None:
    """Options of the commands that run an engine."""
    made.add_argument(
        "--output", required=True, metavar="DIR", help="folder or bucket to write; a dataset is written there once"
    )
    made.add_argument("--engine", choices=ENGINES, default="local", help="what runs the tasks (default: local)")
    made.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="processes of the local engine, cores of local spark (default: all cores)",
    )
    made.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set one key of the recipe; again for more",
    )
    made.add_argument(
        "--max-dead-share",
        type=float,
        metavar="SHARE",
        help="stop a task when this share of its records died in one way (default: 0.95)",
    )
    made.add_argument(
        "--dry-run", action="store_true", help="print phases, tasks, bytes and what is reused; change nothing"
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--quiet", action="store_true", help="no progress")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def version() -> str:
    from importlib import metadata

    return metadata.version("winnow-vlm")


def do_sample(options: Any) -> int:
    from pipelines.sample import fetch_sample

    directory = Path(options.from_directory) if options.from_directory else None
    summary = fetch_sample(
        Path(options.directory),
        from_directory=directory,
        synthetic=options.synthetic,
        progress=lambda text: print(text, file=sys.stderr),
    )
    print(json.dumps(summary.to_json()) if options.json else str(summary))
    return DONE


def do_run(options: Any) -> int:
    from pipelines import recipe, run
    from stages.readers.detect import make_reader
    from winnow.addresses import input_uri, last_part, output_uri

    made = recipe.load(options.recipe, with_dead_share(options))
    if options.format not in FORMATS:
        raise RunError(
            f"--format {options.format!r} is unknown{recipe.nearest(options.format, FORMATS)}; "
            f"allowed: {', '.join(FORMATS)}"
        )
    source_uri, target = input_uri(options.input), output_uri(options.output)
    reader = make_reader(
        options.format,
        source_uri,
        source=options.source or last_part(source_uri),
        licence=options.licence,
        media_root=None if options.media_root is None else input_uri(options.media_root),
    )
    plan = run.plan_run(made, reader, source_uri, target, options.limit, options.ingest == "copy")
    return carry_out(plan, options)


def do_select(options: Any) -> int:
    from pipelines import run
    from winnow.addresses import input_uri, output_uri

    earlier, target = input_uri(options.directory), output_uri(options.output)
    if earlier == target:
        raise RunError(f"--output is {options.directory} itself: a dataset is written once; choose another folder")
    return carry_out(run.plan_select(earlier, target, with_dead_share(options)), options)


def with_dead_share(options: Any) -> list[str]:
    share = options.max_dead_share
    return [*options.sets, *([] if share is None else [f"limits.max_dead_share={share}"])]


def carry_out(plan: Any, options: Any) -> int:
    from pipelines import run
    from pipelines.progress import Progress

    if options.dry_run:
        return print_plan(plan, options)
    if run.finished(plan):  # before an engine is even imported
        summary = run.execute(plan, None, Progress(quiet=True), "")  # type: ignore[arg-type]
    else:
        engine = make_engine(options.engine, options.workers or os.cpu_count() or 1, options.native)
        command_line = shlex.join(["winnow", *sys.argv[1:]])
        summary = run.execute(plan, engine, Progress(quiet=options.quiet), command_line)
        from pipelines.audit.report import write_report

        write_report(plan.folder.output)
    print_summary(summary, options)
    return DONE


def make_engine(name: str, workers: int, native: Sequence[str]) -> Any:
    """The engine by name; what it needs is imported only now. RunError names the extra that is missing."""
    try:
        if name == "beam":
            from pipelines.engines.beam import BeamEngine

            return BeamEngine(native)
        if name == "spark":
            from pipelines.engines.spark import SparkEngine

            return SparkEngine(workers, native)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in ("apache_beam", "pyspark"):
            raise
        raise RunError(
            f"the {name} engine needs a package that is not installed ({error.name}): pip install 'winnow-vlm[{name}]'"
        ) from None
    from pipelines.engines.local import LocalEngine

    return LocalEngine(workers)


def print_plan(plan: Any, options: Any) -> int:
    from pipelines import run

    rows = run.describe(plan)
    size = run.input_bytes(plan)
    if options.json:
        print(json.dumps({"dataset": plan.folder.output, "phases": rows, "input_bytes": size}))
        return DONE
    print(f"would write {plan.folder.output}" + ("" if size is None else f" from {size:,} bytes of input"))
    for row in rows:
        tasks = "known once the phases before it are done" if row["tasks"] is None else f"{row['tasks']} tasks"
        print(f"  {row['phase']:<24} {tasks}" + (f", {row['done']} done already" if row["done"] else ""))
    return DONE


def print_summary(summary: Any, options: Any) -> None:
    value = summary.to_json()
    if options.json:
        print(json.dumps(value))
        return
    if summary.up_to_date:
        print(f"{summary.dataset} is up to date: nothing to do")
    dropped, dead = sum(value["dropped"].values()), sum(value["dead"].values())
    print(f"{value['in']:,} documents: {value['kept']:,} kept, {dropped:,} dropped, {dead:,} dead")
    for title in ("dropped", "dead"):
        for reason, number in value[title].items():
            print(f"  {title:<8} {number:>9,}  {reason}")
    if value["repeated"]:
        print(f"  repeated {value['repeated']:>9,}  (the same document again; not counted above)")
    print(f"{value['shards']} shard(s) in {summary.dataset}/shards, after {value['seconds']:.1f} s")
    print(f"look at {summary.dataset}/report.html")


def do_recipes(options: Any) -> int:
    from pipelines import recipe

    if options.name is None:
        made = [recipe.load(name) for name in recipe.recipe_names()]
        if options.json:
            print(json.dumps({"recipes": [{"name": r.name, "about": r.about} for r in made]}))
        else:
            print("\n".join(f"{r.name}\n    {r.about}" for r in made))
        return DONE
    made_one = recipe.load(options.name)
    keys = recipe.keys(made_one)
    if options.json:
        print(
            json.dumps(
                {"name": made_one.name, "keys": [{f: getattr(k, f) for f in k.__slots__} for k in keys]}, default=str
            )
        )
        return DONE
    print(f"{made_one.name}: {made_one.about}\n\nrules are applied in this order; set any key with --set KEY=VALUE\n")
    for key in keys:
        value = "off" if key.default is None else json.dumps(key.default, ensure_ascii=False)
        print(f"  {key.key:<34} {value:<28} {key.unit}" + (f"\n{'':<38}{key.source}" if key.source else ""))
    return DONE


def do_explain(options: Any) -> int:
    from pipelines.audit.explain import explain
    from winnow.addresses import input_uri

    found = explain(input_uri(options.directory), options.uid)
    print(json.dumps(found.to_json(), ensure_ascii=False) if options.json else found.text())
    return DONE


def do_report(options: Any) -> int:
    from pipelines.audit.report import write_report
    from winnow.addresses import input_uri

    print(write_report(input_uri(options.directory), None if options.output is None else Path(options.output)))
    return DONE


def do_verify(options: Any) -> int:
    from manifests.store import Store
    from manifests.verify import verify
    from winnow.addresses import input_uri

    store = Store(input_uri(options.directory))
    problems = verify(store, progress=lambda path: None)
    if options.json:
        print(json.dumps({"dataset": store.uri, "ok": not problems, "problems": [str(p) for p in problems]}))
    else:
        print(
            "\n".join(str(problem) for problem in problems)
            or f"{store.uri}: every file, member and count is as the manifest says"
        )
    return VERIFICATION_FAILED if problems else DONE


def do_clean(options: Any) -> int:
    from pipelines.run import clean
    from winnow.addresses import input_uri

    files, size = clean(input_uri(options.directory), options.dry_run)
    print(f"{'would remove' if options.dry_run else 'removed'} {files:,} files, {size:,} bytes of work")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
