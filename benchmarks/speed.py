"""Ours beside the naive twins, in one process and in turn: the table of docs/speed.md.

    python benchmarks/speed.py --quick --speech egs/mini/corpus
    python benchmarks/speed.py --stage encode --size reference --codebook 262144 -o exp/bench/encode_262k.json
    python benchmarks/speed.py --write docs/speed.md exp/bench/*.json    # or benchmarks/cpu.sh: all rows, then this

The twins (benchmarks/naive) do what the published code does, with our weights. The same options as ``codec bench``, and
``--precision`` for training steps; ``--write`` puts what was measured into a document, between its two marks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from naive import bottleneck, network
from naive.training import NaiveTraining
from torch import Tensor

from codec.benchmarking import report
from codec.benchmarking.cases import Case, Subject
from codec.benchmarking.machine import describe
from codec.benchmarking.runner import run_cases
from codec.benchmarking.timing import Work
from codec.cli import bench, run
from codec.cli.console import Device
from codec.config import ModelConfig
from codec.devices import pick_device
from codec.documents import find_place
from codec.quantizers.simvq import SimVQ
from codec.training.trainer import Trainer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
MARKS = ("<!-- measured: begin -->", "<!-- measured: end -->")


@app.command()
def main(
    results: Annotated[list[Path] | None, typer.Argument(metavar="[JSON]...", help="With --write.")] = None,
    stages: bench.Stages = None,
    sizes: bench.Sizes = None,
    codebooks: bench.Codebooks = None,
    threads: bench.Threads = None,
    runs: bench.Runs = 7,
    quick: bench.Quick = False,
    device: Device = "auto",
    dtype: bench.Dtype = "float32",
    compile: bench.Compile = False,
    speech: bench.Speech = None,
    seconds: bench.Seconds = None,
    batch: bench.Batch = None,
    precision: Annotated[str, typer.Option(help="Of training steps, both contestants': no or bf16.")] = "no",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
    write: Annotated[Path | None, typer.Option(help="Markdown file that gets the results given.")] = None,
) -> None:
    """Time ours and the twins, or write down what was timed before."""
    if write is not None:
        _write(write, results or [])
        return
    target = pick_device(device)
    counts = bench.thread_counts(threads, target.type)
    cases = bench.select_cases(counts, stages, sizes, codebooks, seconds, batch, quick=quick)
    machine = describe(target, counts)
    records = []
    for record in run_cases(
        cases,
        machine,
        target,
        dtype=dtype,
        compile=compile,
        speech=bench.load_speech(speech, ModelConfig().sample_rate),
        runs=runs,
        precision=precision,
        twin=naive_work,
        training_twin=naive_step,
    ):
        records.append(record)
        print(report.table([record]).splitlines()[-1], flush=True)
        if output:  # after each: a run that is cut short leaves what it has
            report.write_json(output, machine, records)


def naive_work(subject: Subject, case: Case) -> Work:
    """The twin of one stage, on the same weights and the same audio."""
    codec, audio = subject.codec, subject.audio(case).unsqueeze(1)
    quantizer = codec.quantizer
    assert isinstance(quantizer, SimVQ)

    @torch.no_grad()
    def encode() -> Tensor:
        return bottleneck.search(quantizer, network.encode_latents(codec.encoder, audio))

    @torch.no_grad()
    def decode(tokens: Tensor) -> Tensor:
        # The published code has no way from tokens to audio; this is the least that it would have to do.
        codes = quantizer.projection(quantizer.codebook[tokens]).transpose(1, 2)
        return network.decode_audio(codec.decoder, codes)

    if case.stage == "encode":
        return encode
    if case.stage == "round_trip":
        return lambda: decode(encode())
    if case.stage == "decode":
        tokens = encode()
        return lambda: decode(tokens)
    latent = subject.latents(case)
    return torch.no_grad()(lambda: bottleneck.search(quantizer, latent))


def naive_step(trainer: Trainer, audio: Tensor) -> Work:
    """The published training step, on the networks of ``trainer``."""
    training = NaiveTraining(trainer.plain_codec, trainer.plain_discriminators, trainer.config)
    return lambda: training.step(audio)


def _write(document: Path, results: list[Path]) -> None:
    place = find_place(document, MARKS)
    parts: dict[str, list[report.Record]] = {}
    for path in results:
        machine, records = report.read_json(path)
        # Rates differ a little from run to run: files of one machine go together under the first one's.
        key = next((known for known in parts if _same(known, machine)), report.heading(machine))
        parts.setdefault(key, []).extend(records)
    blocks = []
    for number, (heading, records) in enumerate(parts.items()):
        picture = document.parent / f"{document.stem}_{number}.png"
        report.plot(picture, records)
        blocks.append(f"{heading}\n\n{report.table(records)}\n\n![times]({picture.name})")
    place.fill("\n\n".join(blocks))


def _same(heading: str, machine: dict[str, object]) -> bool:
    return heading.split(" Matrix", maxsplit=1)[0] == report.heading(machine).split(" Matrix", maxsplit=1)[0]


if __name__ == "__main__":
    run(app)
