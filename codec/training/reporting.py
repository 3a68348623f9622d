"""What a run tells: gathered on the device while it steps, read and written at the log interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from accelerate import Accelerator
from torch import Tensor

from codec.config import RunConfig
from codec.model import CodecOutput
from codec.quantizers import Quantizer
from codec.quantizers.usage import CodeUsage
from codec.training.metrics import Means, RunLog

Report = Callable[[int, Mapping[str, float]], None]  # step, what was logged there: empty at most steps


class Reporter:
    """Numbers of a run, from the step to ``metrics.jsonl``, TensorBoard and whoever watches.

    Args:
        accelerator: of the run.
        config: all settings.
        log: the run's files, on the main process; None on the others.
        codebook_size: K.
    """

    def __init__(self, accelerator: Accelerator, config: RunConfig, log: RunLog | None, codebook_size: int) -> None:
        self.accelerator, self.config, self.log = accelerator, config, log
        self.means = Means()
        self.usage = CodeUsage(codebook_size, accelerator.device)
        self.watch: Report | None = None
        self._quantized = False  # since the last log step
        self._step, self._time = 0, time.monotonic()

    def add_losses(self, terms: Mapping[str, Tensor]) -> None:
        """Terms of the objective, unweighted."""
        self.means.add({f"loss/{name}": value for name, value in terms.items()})

    def add_output(self, output: CodecOutput, *, bypass: bool) -> None:
        """What the bottleneck says of itself, and the tokens of a batch unless it was bypassed."""
        self.means.add(output.quantizer.metrics)
        if not bypass:
            self._quantized = True
            self.usage.update(output.quantizer.tokens)

    def start_clock(self, step: int) -> None:
        """Speed is measured from here on: validation and checkpoints are not training."""
        self._step, self._time = step, time.monotonic()

    def stepped(self, step: int) -> None:
        """Tell whoever watches that a step was launched."""
        if self.watch and self.log:
            self.watch(step, {})

    def log_training(self, step: int, quantizer: Quantizer, facts: Mapping[str, float]) -> None:
        """Read what has been gathered and write it, with ``facts`` of the trainer; every process must call this."""
        config = self.config
        seconds = time.monotonic() - self._time
        values = self.means.read(self.accelerator)
        values["audio_s_per_s"] = (step - self._step) * config.data.batch_size * config.data.crop_s / seconds
        values |= facts
        if self._quantized:
            self.usage.join_processes()
            values |= {name: float(value) for name, value in self.usage.summary().items()}  # type: ignore[arg-type]
            self.usage.reset()
            self._quantized = False
        if self.log:
            values |= quantizer.describe()
        self.write(step, "train", values)

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """One line of any kind, on the main process."""
        if self.log:
            self.log.write(step, kind, values)
            if self.watch:
                self.watch(step, {f"{kind}/{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Flush the files."""
        if self.log:
            self.log.close()
