"""Is a summary the same to the last digit, whatever the processes and however often they are killed?

    python benchmarks/evaluation_exactness.py egs/mini/corpus/test-mini --utterances 18 --kills 3

Scores one system with every metric in 1, 2 and 4 processes, then once more killed (SIGKILL to all processes, after a
random number of records) and resumed with another number of processes each time. The result folders must hold the same
bytes, and no utterance may be scored twice. Exit code 1 where that is not so.

Without ``--published-weights`` the learned metrics (UTMOS, word error rate, speaker similarity) and the model are the
tests' own: real classes, random numbers. That changes what is scored, not how it is shared.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run
from codec.errors import CodecError

app = typer.Typer(add_completion=False)

ROOT = Path(__file__).parents[1]
FILES = ("utterances.jsonl", "summary.json", "summary.csv", "summary.md")
POLL_S = 0.02


@app.command()
def main(
    corpus: Annotated[Path, typer.Argument(help="Folder of recordings, searched with its folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder.")] = Path("exp/evaluation_exactness"),
    utterances: Annotated[int, typer.Option(min=4)] = 18,
    seconds: Annotated[
        float, typer.Option(min=0.5, help="Of the longest utterance; the shortest has half of it.")
    ] = 3.0,
    system: Annotated[str | None, typer.Option(help="As of recipes/evaluate.py; else a tiny random model.")] = None,
    published_weights: Annotated[bool, typer.Option("--published-weights", help="Of learned metrics.")] = False,
    kills: Annotated[int, typer.Option(min=0)] = 3,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Score alike in several ways, and compare bytes."""
    if output.exists():
        raise CodecError(f"{output}: is there already; give another -o")
    options = [*_manifest(corpus, output, utterances, seconds), *_networks(output, system, published_weights)]
    for processes in (1, 2, 4):
        started = time.monotonic()
        _start(processes, options, output / f"of-{processes}").wait_well()
        typer.echo(f"{processes} processes: {time.monotonic() - started:.0f} s, cache of pitch shared after the first")
    scored = _kill_and_resume(options, output / "killed", kills, random.Random(seed), utterances)
    twice = len(scored) - len(set(scored))
    differing = [
        f"{folder}/{name}"
        for folder, name in itertools.product(("of-2", "of-4", "killed"), FILES)
        if (output / folder / name).read_bytes() != (output / "of-1" / name).read_bytes()
    ]
    summary = json.loads((output / "of-1" / "summary.json").read_text(encoding="utf-8"))
    typer.echo(f"{summary['utterances']} utterances, values: {', '.join(summary['metrics'])}")
    for name, reason in summary["not_available"].items():
        typer.echo(f"not compared: {name}: {reason}")
    typer.echo(f"scored twice: {twice} of {len(set(scored))}; files that differ: {', '.join(differing) or 'none'}")
    if twice or differing:
        raise typer.Exit(1)


class _Started:
    """A launcher with its processes."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def wait_well(self) -> None:
        """Wait for its end.

        Raises:
            CodecError: it failed.
        """
        if self.process.wait():
            raise CodecError(f"scoring failed with exit code {self.process.returncode}; see {self._log}")

    def kill(self) -> None:
        """SIGKILL to the launcher and all that it has started."""
        family = [self.process.pid]
        for pid in family:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                family += map(int, children.read_text().split())
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _start(processes: int, options: list[str], folder: Path) -> _Started:
    log = folder.with_suffix(".log")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*launcher, str(ROOT / "recipes" / "evaluate.py"), *options, "-o", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with log.open("ab") as file:
        return _Started(subprocess.Popen(command, stdout=file, stderr=file, env=environment), log)


def _kill_and_resume(options: list[str], folder: Path, kills: int, moments: random.Random, total: int) -> list[str]:
    """Ids in the order in which they were scored, over all runs."""
    scored: list[str] = []
    for number, processes in zip(range(kills), itertools.cycle((2, 4, 1)), strict=False):
        running = _start(processes, options, folder)
        enough = moments.randint(1, max(1, (total - len(scored)) // (kills - number + 1)))
        while len(new := _ids(folder, scored)) < enough:
            if running.process.poll() is not None:
                raise CodecError(f"{folder}: ended before it could be killed; take more --utterances")
            time.sleep(POLL_S)
        running.kill()
        new = _ids(folder, scored)
        typer.echo(f"killed {processes} processes after {len(new)} more of {total} utterances")
        scored += new
    _start(4, options, folder).wait_well()
    last = json.loads((folder / "speed.json").read_text(encoding="utf-8"))["utterances"]
    whole = [json.loads(line)["id"] for line in (folder / "utterances.jsonl").read_text(encoding="utf-8").splitlines()]
    rest = [id_ for id_ in whole if id_ not in scored]
    typer.echo(f"the last run scored {last} utterances, {len(rest)} were left")
    # What the last run has scored beyond the rest, it has scored again.
    return scored + rest + scored[: max(0, last - len(rest))]


def _ids(folder: Path, known: list[str]) -> list[str]:
    """Of whole records in the parts; those of an earlier run, which the next one has yet to collect, are ``known``."""
    found = [
        json.loads(line)["id"]
        for part in sorted(folder.glob("parts/*.jsonl"))
        for line in part.read_text(encoding="utf-8").splitlines(keepends=True)
        if line.endswith("\n")
    ]
    return [] if known and set(found) <= set(known) else found


def _manifest(corpus: Path, output: Path, count: int, seconds: float) -> list[str]:
    """A manifest of ``count`` pieces of recordings, of different lengths, with made-up texts."""
    from codec import audio as audio_io
    from codec.manifest import Utterance, write_manifest

    files = sorted(corpus.glob("**/*.flac"))[:count]
    if len(files) < count:
        raise CodecError(f"{corpus}: {len(files)} flac files, expected {count}; give a smaller --utterances")
    entries = []
    for index, file in enumerate(files):
        length = round(24_000 * seconds * (0.5 + index / (2 * count)))
        path = output / "speech" / f"{file.stem}.wav"
        clip = audio_io.load(file, 24_000)[12_000 : 12_000 + length]
        audio_io.write(path, clip, 24_000)
        entries.append(Utterance(file.stem, path, len(clip), 24_000, f"s{index % 5}", "test", f"an {index} eaten note"))
    write_manifest(output / "manifest.jsonl", entries)
    return ["--manifest", str(output / "manifest.jsonl"), "--metrics", "all", "--cache", str(output / "cache")]


def _networks(output: Path, system: str | None, published_weights: bool) -> list[str]:
    """Options of the system and of learned metrics."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "evaluation")]
    import torch
    from conftest import TINY
    from tiny_networks import save_recogniser, save_speaker_network, save_utmos

    from codec import Codec

    if system is None:
        torch.manual_seed(0)
        Codec(TINY).save_pretrained(output / "model")
        system = str(output / "model")
    if published_weights:
        return ["--system", system]
    return [
        *("--system", system),
        *("--recogniser", str(save_recogniser(output / "recogniser"))),
        *("--speaker-network", str(save_speaker_network(output / "speaker"))),
        *("--utmos-weights", str(save_utmos(output / "utmos.pt"))),
    ]


if __name__ == "__main__":
    run(app)
