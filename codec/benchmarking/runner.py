"""Cases in order, each beside its twin if there is one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from codec.benchmarking.cases import Case, Subject, untrained
from codec.benchmarking.machine import Machine, load
from codec.benchmarking.operations import count_operations
from codec.benchmarking.timing import Timing, Work, measure
from codec.benchmarking.training import crops, make_trainer
from codec.config import RunConfig, build, merge
from codec.config.model import preset_sizes
from codec.model import Codec
from codec.training.trainer import Trainer

Record = dict[str, Any]  # a case, its timings and what follows from them; JSON
InferenceTwin = Callable[[Subject, Case], Work]
TrainingTwin = Callable[[Trainer, Tensor], Work]

# Discriminators of the published kinds, small enough for the tiny codec.
SMALL_DISCRIMINATORS = {
    "period_channels": [8, 16, 32, 64],
    "dac_period_channels": [8, 16, 32, 64],
    "resolution_channels": 8,
    "dac_channels": 8,
}


def run_cases(
    cases: Iterable[Case],
    machine: Machine,
    device: torch.device,
    *,
    dtype: str = "float32",
    compile: bool = False,
    speech: Tensor | None = None,
    runs: int = 7,
    precision: str = "no",
    model: Codec | None = None,
    twin: InferenceTwin | None = None,
    training_twin: TrainingTwin | None = None,
) -> Iterator[Record]:
    """Time the cases one after another; a subject is kept as long as its size and codebook stay.

    Args:
        cases: what to time.
        machine: whose rate gives the floor.
        device: where.
        dtype: of the decoder's products.
        compile: the decoder by torch.compile; not the twins.
        speech: what to code.
        runs: of each contestant; half as many of training steps.
        precision: of training steps.
        model: what all cases are timed of, with the ``dtype`` and ``compile`` given; None: untrained presets.
        twin: makes the other contestant of a case.
        training_twin: the same for training steps.
    """
    subject: Subject | None = None
    present: tuple[str, int] | None = None
    before = torch.get_num_threads()
    for case in cases:
        torch.set_num_threads(case.threads)
        try:
            if case.stage == "train_step":
                subject, present = None, None
                gc.collect()
                yield from _training(case, machine, device, precision, max(1, runs // 2), training_twin)
                continue
            if subject is None or present != (case.size, case.codebook_size):
                subject, present = None, None  # the old one goes before the new one comes
                codec = model or untrained(case.size, case.codebook_size, dtype, compile=compile).to(device)
                subject = Subject(codec, device, speech)
                present = (case.size, case.codebook_size)
            contestants = {"ours": subject.work(case)}
            if twin is not None:
                contestants["twin"] = twin(subject, case)
            timings = measure(contestants, device, runs=runs)
            record = _record(case, timings, subject.operations(case), machine, device, dtype)
            yield record | ({"note": "decoder compiled"} if compile else {})
        finally:
            torch.set_num_threads(before)


def training_config(size: str, codebook_size: int, precision: str, *, one_period_family: bool = False) -> RunConfig:
    """The published objective at the sizes of a preset; with ``one_period_family``, without DAC's repetition of it."""
    discriminators: dict[str, Any] = dict(SMALL_DISCRIMINATORS) if size == "tiny" else {}
    if one_period_family:
        discriminators["dac_periods"] = []
    settings = {
        "model": merge(preset_sizes(size), {"quantizer": {"codebook_size": codebook_size}}),
        "discriminators": discriminators,
        "training": {"mixed_precision": precision},
    }
    return build(RunConfig, settings)


def _training(
    case: Case, machine: Machine, device: torch.device, precision: str, runs: int, twin: TrainingTwin | None
) -> Iterator[Record]:
    """One record with the published objective, one with a single period family; the twin is the same in both."""
    for one_family in (False, True):
        config = training_config(case.size, case.codebook_size, precision, one_period_family=one_family)
        with TemporaryDirectory(prefix="codec-") as ours, TemporaryDirectory(prefix="codec-") as theirs:
            trainer = make_trainer(config, Path(ours), case.batch, case.seconds, cpu=device.type == "cpu")
            audio = crops(trainer)
            contestants: dict[str, Work] = {"ours": lambda t=trainer, a=audio: t.step([a])}  # type: ignore[misc]
            if twin is not None:
                published = training_config(case.size, case.codebook_size, precision)
                other = make_trainer(published, Path(theirs), case.batch, case.seconds, cpu=device.type == "cpu")
                contestants["twin"] = twin(other, audio)
            timings = measure(contestants, device, runs=runs)
            operations = count_operations(contestants["ours"], trainer.plain_codec)
            note = "one period family" if one_family else "published objective"
            record = _record(case, timings, operations, machine, device, precision)
            yield record | {"note": note}


def _record(
    case: Case, timings: dict[str, Timing], operations: int, machine: Machine, device: torch.device, dtype: str
) -> Record:
    ours = timings["ours"]
    rate = machine.float32_gflops["device" if device.type != "cpu" else str(case.threads)]
    record: Record = {
        **asdict(case),
        "dtype": dtype,
        "ours": asdict(ours),
        "times_real_time": case.audio_s / ours.median_s,
        "operations": operations,
        "floor_s": operations / (rate * 1e9),
        "load": load(),
    }
    if "twin" in timings:
        record["twin"] = asdict(timings["twin"])
        record["ratio"] = timings["twin"].median_s / ours.median_s
    return record
