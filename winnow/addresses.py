"""What a person types as a folder or bucket, as the URI that the rest of the house uses."""

from pathlib import Path

from manifests.errors import RunError

SCHEMES = ("s3://", "gs://", "az://", "memory://")


def input_uri(text: str) -> str:
    """An existing local folder as an absolute path, or a bucket URI. RunError with the remedy otherwise."""
    if is_remote(text):
        return text.rstrip("/")
    path = Path(text.removeprefix("file://")).expanduser()
    if not path.exists():
        raise RunError(f"{text} does not exist")
    if not path.is_dir():
        raise RunError(f"{text} is a file; expected a folder: give the folder that holds it")
    try:
        next(path.iterdir(), None)
    except PermissionError:
        raise RunError(f"{text} cannot be read: permission denied") from None
    return str(path.resolve())


def output_uri(text: str) -> str:
    """A local folder, made if need be, as an absolute path, or a bucket URI."""
    if is_remote(text):
        return text.rstrip("/")
    path = Path(text.removeprefix("file://")).expanduser()
    if path.exists() and not path.is_dir():
        raise RunError(f"--output {text} is a file; expected a folder")
    for parent in path.absolute().parents:
        if parent.exists():
            if not parent.is_dir():
                raise RunError(f"--output {text}: {parent} is a file; expected a folder")
            break
    return str(path.resolve())


def check_apart(source: str, target: str) -> None:
    """RunError where the output lies in the input, or the input in the output: a run must not read what it writes."""
    for inner, outer in ((target, source), (source, target)):
        if inner == outer or inner.startswith(outer.rstrip("/") + "/"):
            raise RunError(f"--output {target} and the input {source} lie in one another; choose another --output")


def is_remote(text: str) -> bool:
    if text.startswith(SCHEMES):
        return True
    if "://" in text and not text.startswith("file://"):
        raise RunError(f"{text}: unknown kind of address; allowed: a local path, {', '.join(SCHEMES)}")
    return False


def last_part(uri: str) -> str:
    return uri.rstrip("/").rsplit("/", 1)[-1] or "input"
