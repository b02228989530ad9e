"""The `winnow` command. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 verification failed, 2 usage or configuration, 3 failed tasks (a rerun tries only those),
130 interrupted (a rerun resumes).
"""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from manifests.errors import FailedTasks, RunError, TransientError
from winnow import actions

USAGE, FAILED, INTERRUPTED = 2, 3, 130
ENGINES = ("local", "beam", "spark")


class Parser(argparse.ArgumentParser):
    """argparse with one clear line for a mistake, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise RunError(f"{message} (see: {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    level = os.environ.get("WINNOW_LOG", "WARNING").upper()
    known = logging.getLevelNamesMapping()
    logging.basicConfig(level=known.get(level, logging.WARNING), format="winnow: %(message)s")
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
        return actions.DONE


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
        commands, "sample", actions.do_sample, "fetch real pages with pictures to try things on", "winnow sample corpus"
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
    run = command(
        commands, "run", actions.do_run, "curate a raw input into shards, ledger, manifest and report", example
    )
    run.add_argument("recipe", metavar="RECIPE", help="a name from `winnow recipes`, or a YAML file")
    run.add_argument("--input", required=True, metavar="URI", help="folder or bucket (s3://, gs://, az://) to read")
    run.add_argument(
        "--format",
        default="auto",
        metavar="NAME",
        help=f"what the input is: {', '.join(actions.FORMATS)} (default: auto)",
    )
    about = "set a field of the reader, such as caption_column of parquet; again for more"
    run.add_argument("--reader", action="append", default=[], metavar="KEY=VALUE", help=about)
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
        actions.do_select,
        "other thresholds from an earlier run's scores, without decoding a pixel",
        example,
    )
    select.add_argument("directory", metavar="DIR", help="the earlier run's output")
    add_running(select)

    recipes = command(
        commands, "recipes", actions.do_recipes, "list recipes, or every key of one", "winnow recipes image-text-light"
    )
    recipes.add_argument("name", nargs="?", metavar="NAME")
    recipes.add_argument("--json", action="store_true", help="print one JSON object")

    explain = command(
        commands,
        "explain",
        actions.do_explain,
        "why one document was kept, dropped or dead",
        "winnow explain curated 3f2a…",
    )
    explain.add_argument("directory", metavar="DIR")
    explain.add_argument("uid", metavar="UID", help="its uid, or the first digits of it")
    explain.add_argument("--json", action="store_true", help="print one JSON object")

    report = command(commands, "report", actions.do_report, "write report.html again", "winnow report curated")
    report.add_argument("directory", metavar="DIR")
    report.add_argument("--output", metavar="FILE", help="where to (default: DIR/report.html)")

    verify = command(
        commands,
        "verify",
        actions.do_verify,
        "check every file, member and count against the manifest",
        "winnow verify curated",
    )
    verify.add_argument("directory", metavar="DIR")
    verify.add_argument("--json", action="store_true", help="print one JSON object")

    clean = command(
        commands, "clean", actions.do_clean, "remove a run's work folder; the dataset stays", "winnow clean curated"
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
        help="processes (local), threads (beam here) or cores (spark here); default: all cores",
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


if __name__ == "__main__":
    sys.exit(main())
