"""What every command line here shares: how it ends, what it says, and where it may write."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from codec.bundled import DEFAULT_MODEL
from codec.errors import CodecError

# Results go to stdout, everything else here; soft_wrap leaves a long message on its one line.
console = Console(stderr=True, soft_wrap=True)

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help=f"Folder, a shipped model, or OWNER/NAME of the hub. [default: {DEFAULT_MODEL}; of tokens what made them]",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:1, mps.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="OUT", help="[default: beside each IN, see above; - where IN is -]"),
]
Dtype = Annotated[
    str, typer.Option("--dtype", help="Of the decoder's products: float32, or bfloat16, which is faster.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="The decoder by torch.compile: pays on a GPU, for many files.")
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Files at a time, of a folder or of several IN.")]
Batch = Annotated[
    float,
    typer.Option(
        "--batch",
        min=0,
        metavar="SECONDS",
        help="Of audio that go through the model together, of a folder or of several IN; 0: one file at a time.",
    ),
]
Window = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="What is longer is decoded in windows of this length, which costs quality and memory; default: 30.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]


def run(app: typer.Typer, args: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 done, 2 a user's mistake, 130 interrupted, 143 by SIGTERM, 129 by SIGHUP.

    A :class:`CodecError` becomes one line on stderr, without a traceback, and so does a standard output that takes no
    more. Log records of this package and of the script itself go to stderr from level INFO on, everybody else's from
    WARNING on.
    """
    try:
        with _logging(), _signals_as_exit():
            app(args=args)
    except CodecError as error:
        say("error", str(error), "bold red")
        raise SystemExit(2) from None
    except SystemError as error:
        # A signal that comes while compiled code of numba runs (the pitch metrics) is found when that code returns, and
        # is then the cause of this.
        if not isinstance(error.__cause__, SystemExit | KeyboardInterrupt):
            raise
        code = error.__cause__.code if isinstance(error.__cause__, SystemExit) else 128 + signal.SIGINT
        raise SystemExit(code) from None
    except OSError as error:
        if error.filename is not None or not _stdout_is_stuck():
            raise
        say("error", f"standard output: writing failed ({error.strerror}); what was sent is not whole", "bold red")
        raise SystemExit(2) from None
    raise SystemExit(0)  # never reached with today's typer, which exits by itself


@contextmanager
def _signals_as_exit() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, so that nothing half-written stays.

    What ignores them (``nohup``) or handles them itself goes on doing so. So do several processes of a launcher, which
    it ends: one that waits for another in a barrier would hear no handler of Python's.
    """
    names = ("SIGTERM", "SIGHUP")  # of which Windows lacks the second
    numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]
    if threading.current_thread() is not threading.main_thread() or os.environ.get("WORLD_SIZE", "1") != "1":
        numbers = []
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    owner = os.getpid()

    def end(number: int, _: object) -> None:
        if os.getpid() != owner:  # a worker that was forked off, which has nothing to clear away
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in numbers:  # clearing away is not to be cut short
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _stdout_is_stuck() -> bool:
    """Whether standard output takes no more; what waits is dropped then, or Python's end would try once more."""
    try:
        sys.stdout.write("\n")  # where nothing is buffered, what failed is gone
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return True
    return False


def say(kind: str, message: str, style: str = "") -> None:
    """Print one line on stderr; an empty ``kind`` has no prefix."""
    line = " ".join(message.splitlines())
    console.print(Text.assemble((f"{kind}: ", style), line) if kind else Text(line))


def working(task: str) -> AbstractContextManager[object]:
    """A spinner on a terminal, nothing elsewhere."""
    return console.status(Text(task))  # as Text, brackets in a path are no markup


def check_output(output: Path, force: bool, suffixes: Sequence[str] = (), *, source: Path | None = None) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        CodecError: it is ``source``, or a folder; it exists and ``force`` is not given, its suffix is not one of
            ``suffixes``, or its folder can neither be written to nor be made.
    """
    there = os.path.lexists(output)  # unlike Path's questions, takes names that are too long
    if there and source is not None and _same_file(output, source):
        raise CodecError(f"{output}: is the file that is read, which stays as it is; give another name with -o")
    if there and output.is_dir():
        raise CodecError(f"{output}: is a folder; give the name of a file to write")
    if suffixes and output.suffix.lower() not in suffixes:
        raise CodecError(f"{output}: expected an output that ends in {' or '.join(suffixes)}; give such a name with -o")
    if there and not force:
        raise CodecError(f"{output}: exists already; give --force to replace it, or another name")
    folder = next(folder for folder in output.absolute().parents if os.path.lexists(folder))
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise CodecError(f"{output}: cannot write there, {folder} is no writable folder; choose another place")


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False


STREAM = Path("-")  # standard input or output


def comma_separated(text: str) -> list[str]:
    """The names in an option's value, without what is empty between commas."""
    return [name for name in map(str.strip, text.split(",")) if name]


def several(sources: Sequence[Path], output: Path | None) -> bool:
    """Whether files are to go into a folder or each beside itself, as several do, and one where OUT is a folder.

    Raises:
        CodecError: several, of which one is standard input, or which are to go to standard output.
    """
    if len(sources) == 1:
        return sources[0] != STREAM and not sources[0].is_dir() and output is not None and output.is_dir()
    if STREAM in sources:
        raise CodecError(f"-: standard input, given beside {len(sources) - 1} others; give it by itself")
    if output == STREAM:
        raise CodecError(f"-: {len(sources)} files need a folder for the output; give one with -o, or none")
    return True


def output_of(source: Path, output: Path | None, suffix: str) -> Path:
    """Where the output goes; where nothing is given, from a pipe to a pipe, and beside a file with another suffix.

    Raises:
        CodecError: no output for a folder, or a pipe for one.
    """
    if source.is_dir() and output in (None, STREAM):
        raise CodecError(f"{source}: is a folder; give a folder for its output with -o")
    if output is None and source != STREAM:
        return source.with_suffix(suffix)
    return output or STREAM


def report(output: Path, line: str) -> None:
    """Print a result on stdout; on stderr where stdout carries data."""
    if output == STREAM:
        say("", line)
    else:
        typer.echo(line)


def summary(output: Path, duration_s: float, tokens: int, size: int, elapsed_s: float) -> str:
    """The line at the end of a command: the output and its :func:`facts`."""
    name = "standard output" if output == STREAM else output
    return f"{name}: {facts(duration_s, tokens, size, elapsed_s)}"


def facts(duration_s: float, tokens: int, size: int, elapsed_s: float) -> str:
    """What went through. ``size``: bytes of the token files."""
    return (
        f"{duration_s:.2f} s, {tokens} tokens, {size} bytes, {8 * size / duration_s:.0f} bit/s, "
        f"{duration_s / elapsed_s:.1f} times real time"
    )


class _ConsoleHandler(logging.Handler):
    """Log records on the console, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        warning = record.levelno >= logging.WARNING
        say(record.levelname.lower() if warning else "", self.format(record), "yellow" if warning else "")


@contextmanager
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    own = [logging.getLogger(name) for name in ("codec", "__main__")]
    levels = [logger.level for logger in own]
    handler = _ConsoleHandler()
    root.addHandler(handler)
    for logger in own:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in zip(own, levels, strict=True):
            logger.setLevel(level)
