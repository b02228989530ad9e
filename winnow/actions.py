"""What each command does. Each imports what it needs when it is called: `winnow --help` needs nothing."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifests.errors import RunError

DONE, VERIFICATION_FAILED = 0, 1
FORMATS = ("auto", "folder", "webdataset", "parquet", "html")


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
    from pipelines.recipe_checks import nearest
    from stages.readers.detect import make_reader
    from winnow.addresses import check_apart, input_uri, last_part, output_uri

    made = recipe.load(options.recipe, with_dead_share(options))
    if options.format not in FORMATS:
        raise RunError(
            f"--format {options.format!r} is unknown{nearest(options.format, FORMATS)}; allowed: {', '.join(FORMATS)}"
        )
    source_uri, target = input_uri(options.input), output_uri(options.output)
    check_apart(source_uri, target)
    reader = make_reader(
        options.format,
        source_uri,
        source=options.source or last_part(source_uri),
        licence=options.licence,
        media_root=None if options.media_root is None else input_uri(options.media_root),
        **recipe.assignments("--reader", options.reader, "caption_column=TEXT"),
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
        engine = make_engine(options.engine, options.workers, options.native)
        command_line = shlex.join(["winnow", *sys.argv[1:]])
        summary = run.execute(plan, engine, Progress(quiet=options.quiet), command_line)
        from pipelines.audit.report import write_report

        write_report(plan.folder.output)
    if summary.up_to_date and plan.folder.store.size("report.html") is None and plan.has_work():
        from pipelines.audit.report import write_report

        write_report(plan.folder.output)  # a run that died between the dataset and its report
    print_summary(summary, options)
    return DONE


def make_engine(name: str, workers: int | None, native: Sequence[str]) -> Any:
    """The engine by name; what it needs is imported only now. RunError names the extra that is missing.

    workers: processes, threads (beam) or cores (spark) on this machine; None for one a core.
    """
    try:
        if name == "beam":
            from pipelines.engines.beam import BeamEngine

            threads = [] if workers is None else ["--direct_num_workers", str(workers)]
            return BeamEngine([*threads, *native])
        if name == "spark":
            from pipelines.engines.spark import SparkEngine

            return SparkEngine(workers or os.cpu_count() or 1, native)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in ("apache_beam", "pyspark"):
            raise
        raise RunError(
            f"the {name} engine needs a package that is not installed ({error.name}): pip install 'winnow-vlm[{name}]'"
        ) from None
    from pipelines.engines.local import LocalEngine

    return LocalEngine(workers or os.cpu_count() or 1)


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
        for reason, number in sorted(value[title].items(), key=lambda item: -item[1]):
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
