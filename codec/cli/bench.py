"""``codec bench``: how fast this machine is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli import console

if TYPE_CHECKING:
    from codec.benchmarking.cases import Case

Stages = Annotated[list[str] | None, typer.Option("--stage", help="encode, search, decode, round_trip, train_step.")]
Sizes = Annotated[list[str] | None, typer.Option("--size", help="tiny or reference; may be given again.")]
Codebooks = Annotated[list[int] | None, typer.Option("--codebook", min=1, help="K; may be given again.")]
Threads = Annotated[list[int] | None, typer.Option("--threads", min=1, help="May be given again. [default: 1 and all]")]
Runs = Annotated[int, typer.Option(min=1, help="Timed calls of each contestant.")]
Quick = Annotated[bool, typer.Option("--quick", help="Fewer lengths and codebooks.")]
Dtype = Annotated[str, typer.Option(help="Of the decoder's products: float32 or bfloat16.")]
Speech = Annotated[Path | None, typer.Option(help="Folder or file of speech to code. [default: noise]")]
Seconds = Annotated[
    list[float] | None, typer.Option("--seconds", min=0.1, help="Length; with --batch, in their place.")
]
Batch = Annotated[
    list[int] | None, typer.Option("--batch", min=1, help="With --seconds; may be given again. [default: 1]")
]
Compile = Annotated[bool, typer.Option("--compile", help="The decoder by torch.compile, in float32.")]


def bench(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="Time this one, without training: a folder, a shipped model, or OWNER/NAME."
        ),
    ] = None,
    stages: Stages = None,
    sizes: Sizes = None,
    codebooks: Codebooks = None,
    threads: Threads = None,
    runs: Runs = 7,
    quick: Quick = False,
    device: console.Device = "auto",
    dtype: Dtype = "float32",
    compile: Compile = False,
    speech: Speech = None,
    seconds: Seconds = None,
    batch: Batch = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Time encoding, search, decoding and training steps on this machine, and print a Markdown table.

    Untrained weights of the published and the tiny sizes, or a model of yours (--model). Beside each time stands the
    floor: arithmetic operations over the machine's measured float32 matrix rate. The repository's benchmarks/speed.py
    adds the naive twins.
    """
    from codec.benchmarking import report
    from codec.benchmarking.machine import describe
    from codec.benchmarking.runner import run_cases
    from codec.cli.models import load_model
    from codec.config import ModelConfig
    from codec.devices import pick_device

    if output:
        console.check_output(output, force=True)
    target = pick_device(device)
    counts = thread_counts(threads, target.type)
    codec, subject = None, None
    if model is not None:
        _refuse_sizes(model, stages, sizes, codebooks)
        codec, name = load_model(model, device, dtype=dtype, compile=compile)
        subject = name, codec.codebook_size
    cases = select_cases(counts, stages, sizes, codebooks, seconds, batch, quick=quick, model=subject)
    sound = load_speech(speech, ModelConfig().sample_rate if codec is None else codec.sample_rate)
    machine = describe(target, counts)
    records = []
    todo = run_cases(cases, machine, target, dtype=dtype, compile=compile, speech=sound, runs=runs, model=codec)
    for record in todo:
        records.append(record)
        console.say("", report.table([record]).splitlines()[-1])
    typer.echo(report.heading(machine.as_dict()) + "\n\n" + report.table(records))
    if output:
        report.write_json(output, machine, records)


def thread_counts(asked: list[int] | None, device: str) -> list[int]:
    """What was asked for; else one and all, on a GPU all."""
    import torch

    if asked:
        return asked
    all_of_them = torch.get_num_threads()
    return [all_of_them] if device != "cpu" else sorted({1, all_of_them})


def select_cases(
    threads: list[int],
    stages: list[str] | None,
    sizes: list[str] | None,
    codebooks: list[int] | None,
    seconds: list[float] | None,
    batches: list[int] | None,
    *,
    quick: bool,
    model: tuple[str, int] | None = None,
) -> list[Case]:
    """Of the standard cases those that were asked for; given lengths replace the standard ones.

    ``model``: name and codebook size of the one that is timed in the presets' place; it has no training steps.

    Raises:
        CodecError: an unknown stage or size, or nothing left.
    """
    from codec.benchmarking.cases import CODEBOOKS, STAGES, Case, check_stages, model_cases, standard_cases
    from codec.config import PRESETS
    from codec.errors import CodecError

    wanted = check_stages(stages or [stage for stage in STAGES if stage != "train_step" or model is None])
    for size in sizes or []:
        if size not in PRESETS:
            raise CodecError(f"size {size!r} is not known; sizes are {', '.join(PRESETS)}")
    if seconds:
        presets = [(size, K) for size in sizes or PRESETS for K in codebooks or CODEBOOKS[:1]]
        return [
            Case(stage, name, K, batch, length, count)
            for count in threads
            for name, K in ([model] if model else presets)
            for length in seconds
            for batch in batches or [1]
            for stage in wanted
        ]
    standard = model_cases(*model, threads, quick=quick) if model else standard_cases(threads, quick=quick)
    cases = [
        case
        for case in standard
        if case.stage in wanted
        and (not sizes or case.size in sizes)
        and (not codebooks or case.codebook_size in codebooks)
    ]
    if not cases:
        raise CodecError("no standard case is left; give fewer of --stage, --size and --codebook, or add --seconds")
    return cases


def _refuse_sizes(model: str, stages: list[str] | None, sizes: list[str] | None, codebooks: list[int] | None) -> None:
    from codec.errors import CodecError

    if sizes or codebooks:
        raise CodecError(f"{model}: has a size and a codebook of its own; leave --size and --codebook out, or --model")
    if stages and "train_step" in stages:
        raise CodecError(f"{model}: training steps are timed of --size tiny and reference only; leave --model out")


def load_speech(path: Path | None, rate: int):  # type: ignore[no-untyped-def]
    """Up to a minute of speech at ``rate`` Hz, (T,), or None.

    Raises:
        CodecError: nothing to read there.
    """
    if path is None:
        return None
    import torch

    from codec import audio
    from codec.folders import recordings_below

    pieces, missing = [], 60 * rate
    for file in recordings_below(path):
        pieces.append(audio.load(file, rate)[:missing])
        missing -= len(pieces[-1])
        if not missing:
            break
    return torch.cat(pieces)
