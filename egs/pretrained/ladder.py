"""Which shape learns most in a given time: short runs of each row of ``conf/ladder.yaml``, equally long.

    OMP_NUM_THREADS=1 python egs/pretrained/ladder.py --minutes 4    # half an hour on one core
    python egs/pretrained/ladder.py --table                          # of what is done

Every row trains the autoencoder (the bottleneck of all is the same, and comes in later) for the same minutes of its own
process, from scratch, with seed 0, and is validated at its end on crops of speakers that it has not heard. Rows that
are there are not run again; remove their folders for that. Nothing else should run meanwhile: time is what is compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from codec import Codec
from codec.cli import run
from codec.config import Settings, build, load_run_config
from codec.documents import find_place
from codec.errors import CodecError
from codec.files import read_json, write_text

HERE = Path("egs/pretrained")
BASE, ROWS = HERE / "conf" / "cpu.yaml", HERE / "conf" / "ladder.yaml"
# More steps than the time has, none of them with the bottleneck.
ENDLESS = ["training.steps=100000", "training.bottleneck_warmup.share=0.99", "training.checkpoint_every=100000"]
MARKS = (
    "<!-- ladder: python egs/pretrained/ladder.py --table --write docs/pretrained.md -->",
    "<!-- end of ladder -->",
)
DONE = "ladder.json"  # in a run's folder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Rung(Settings):
    """One shape."""

    name: str
    title: str
    set: tuple[str, ...] = ()  # overrides


@app.command()
def main(
    minutes: Annotated[float, typer.Option(help="Of training, for each row.", min=0)] = 4.0,
    rows: Annotated[str | None, typer.Option(help="Comma-separated names; default: all.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the runs.")] = Path("exp/pretrained/ladder"),
    extra: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="On top of every row.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Train nothing.")] = False,
    write: Annotated[Path | None, typer.Option(help="Markdown file with the ladder's marks.")] = None,
) -> None:
    """Train what is not done, and print the table."""
    place = None if write is None else find_place(write, MARKS)
    rungs = [build(Rung, item, str(ROWS)) for item in yaml.safe_load(ROWS.read_text(encoding="utf-8"))]
    names = [rung.name for rung in rungs] if rows is None else rows.split(",")
    if unknown := sorted(set(names) - {rung.name for rung in rungs}):
        raise CodecError(f"--rows: {', '.join(unknown)}: not in {ROWS}; known are {', '.join(r.name for r in rungs)}")
    for rung in rungs:
        if rung.name in names and not table and not (output / rung.name / DONE).exists():
            climb(rung, output / rung.name, minutes, extra or [])
    text = markdown(rungs, output)
    typer.echo(text)
    if place is not None:
        place.fill(text)


def climb(rung: Rung, folder: Path, minutes: float, extra: list[str]) -> None:
    """One run.

    Raises:
        CodecError: its settings are none, or the training failed; it has said why.
    """
    overrides = [*ENDLESS, *rung.set, *extra, f"output={folder}"]
    config = load_run_config(BASE, overrides)
    command = [sys.executable, "recipes/train.py", "--config", str(BASE), "--minutes", str(minutes), *overrides]
    if subprocess.run(command).returncode:
        raise CodecError(f"{rung.name}: training failed; what it said stands above (remove {folder} to try again)")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["kind"] == "validation"][-1]
    weights = sum(parameter.numel() for parameter in Codec(config.model).parameters() if parameter.requires_grad)
    facts = {
        "minutes": minutes,
        "steps": last["step"],
        "audio_s": last["step"] * config.data.batch_size * config.data.crop_s,
        "weights": weights,
        "mel": last["loss/mel"],
    }
    write_text(folder / DONE, json.dumps(facts) + "\n")


def markdown(rungs: list[Rung], output: Path) -> str:
    """A row each, the lowest distance first.

    Raises:
        CodecError: nothing is done, or rows had different times.
    """
    found: list[tuple[Rung, dict[str, Any]]] = [
        (rung, read_json(output / rung.name / DONE, "remove that folder, and run it again"))
        for rung in rungs
        if (output / rung.name / DONE).exists()
    ]
    if not found:
        raise CodecError(f"{output}: no row is done; run egs/pretrained/ladder.py without --table")
    times = {facts["minutes"] for _, facts in found}
    if len(times) > 1:
        raise CodecError(f"{output}: rows of {sorted(times)} minutes; they must have the same, remove the others")
    lines = [
        f"After {times.pop():g} minutes each:\n",
        "| | weights | steps | audio heard | log-mel on unseen speakers |\n|---|---:|---:|---:|---:|",
    ]
    for rung, facts in sorted(found, key=lambda pair: pair[1]["mel"]):
        lines.append(
            f"| {rung.title} | {facts['weights'] / 1e6:.1f} M | {facts['steps']} | {facts['audio_s'] / 60:.0f} min "
            f"| {facts['mel']:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(app)
