"""The training loop of a language model."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from codec.config import load_config
from codec.config.lm import LMConfig, LMOptimizerConfig
from codec.errors import CodecError
from codec.lm.corpus import TokenCorpus
from codec.lm.network import LanguageModel, build_language_model, start_from
from codec.lm.packing import PackedBlocks, Sequences
from codec.lm.scoring import Likelihood, measure_likelihood
from codec.training.bad_steps import BadSteps
from codec.training.checkpoint import (
    disk_errors_explained,
    find_checkpoints,
    open_run,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from codec.training.metrics import Means, RunLog
from codec.training.optimizer import set_rates, settings_kept, step_unless
from codec.training.preemption import Stop, agreed, caught_sigterm, wished
from codec.training.schedule import rate_factor

Report = Callable[[int, Mapping[str, float]], None]
# What a resumed run may not change: the state would not fit, or its place in the data would mean another.
FIXED = ("model", "data.train", "data.batch_size", "training.accumulate", "training.seed")
logger = logging.getLogger(__name__)


class LMTrainer:
    """Trains one language model on the tokens of one codec; see :meth:`step`.

    A run is a function of its settings: step n takes the blocks from ``n * accumulate * batch_size`` on of one endless
    row (:class:`codec.lm.packing.PackedBlocks`), whatever the number of processes and however often it was resumed.

    Args:
        config: all settings; ``config.output`` is the run folder.
        accelerator: made by the caller with ``config.training.mixed_precision``.
        resume: go on from the newest checkpoint of the run folder, if there is one.

    Raises:
        CodecError: a setting, token dataset, model to start from or run folder that does not fit; nothing has been
            written then.
    """

    def __init__(self, config: LMConfig, accelerator: Accelerator, *, resume: bool = False) -> None:
        self.config, self.accelerator = config, accelerator
        self.run = Path(config.output)
        settings, data = config.training, config.data
        world = accelerator.num_processes
        if data.batch_size % world:
            raise CodecError(f"data.batch_size={data.batch_size}: must be a multiple of the {world} processes")
        corpus = TokenCorpus(data.train)
        self.blocks = PackedBlocks(corpus, config.model.context, settings.seed)
        self.validation = TokenCorpus(data.validation) if data.validation else None
        if self.validation is not None:
            self.validation.check_model(corpus.model, data.train[0])

        set_seed(settings.seed)
        lm = build_language_model(config.model, corpus.model)
        if config.init_from is not None and not (resume and find_checkpoints(self.run)):
            start_from(lm, config.init_from)
        # From here on something is written.
        checkpoint = open_run(
            self.run,
            config,
            resume=resume,
            main_process=accelerator.is_main_process,
            fixed=FIXED,
            load=_read_settings,
            recordings=corpus.identity(),
        )
        self.lm: nn.Module
        self.lm, self.optimizer = accelerator.prepare(lm, build_optimizer(lm, config.optimizer))
        self.plain_lm: LanguageModel = accelerator.unwrap_model(self.lm)
        self.next_step = 0
        self.elapsed_s = 0.0
        self.best = float("inf")  # validation bits a token of best/
        self.bad_steps = BadSteps(accelerator.device, settings.max_bad_steps)
        self.unseen = False  # stopped in a hurry: the validation of this step is still to come
        accelerator.register_for_checkpointing(self)
        set_seed(settings.seed, device_specific=True)  # dropout differs between processes
        if checkpoint is not None:
            with settings_kept([self.optimizer]):
                accelerator.load_state(str(checkpoint))
            logger.info("resumed from %s", checkpoint)
        # Asking the others through the CPU makes no host wait for its device.
        self.hosts = torch.distributed.new_group(backend="gloo") if world > 1 else None
        to_come = ("validation",) if self.unseen else ()
        self.log = RunLog(self.run, self.next_step, to_come) if accelerator.is_main_process else None
        self.means = Means()

    @property
    def tokens_a_step(self) -> int:
        """Targets of a step, over all processes."""
        return self.config.training.accumulate * self.config.data.batch_size * self.config.model.context

    def step(self) -> None:
        """One update. A step with a non-finite gradient changes no weight and is counted.

        The gradient is that of the summed loss over a constant, the positions of a step: how many of them are ignored
        differs between processes and micro-batches, which must not give their tokens another weight.
        """
        settings, batch = self.config.training, self.config.data.batch_size
        codebook_size = self.plain_lm.vocabulary.codebook_size
        share = batch // self.accelerator.num_processes
        for micro in range(settings.accumulate):
            first = (self.next_step * settings.accumulate + micro) * batch + self.accelerator.process_index * share
            sequences = Sequences(
                *(part.to(self.accelerator.device, non_blocking=True) for part in self.blocks.batch(first, share))
            )
            waits = micro < settings.accumulate - 1  # gradients meet the other processes' only once a step
            with self.accelerator.no_sync(self.lm) if waits else nullcontext():
                losses: Tensor = self.lm(sequences)
                self.accelerator.backward(losses.sum() / (losses.numel() * settings.accumulate))
            codes = (sequences.targets >= 0) & (sequences.targets < codebook_size)  # marks are no tokens
            self.means.add({"bits_a_token": (losses.detach() * codes).sum() / codes.sum().clamp(min=1) / math.log(2)})
        norm = self.accelerator.clip_grad_norm_(self.lm.parameters(), self.config.optimizer.clip_norm or float("inf"))
        bad = ~norm.detach().isfinite()
        rate = self.rate(self.next_step)
        set_rates(self.optimizer, {"matrices": rate, "others": rate})
        step_unless(bad, self.optimizer)
        self.bad_steps.count(bad)
        self.means.add({"grad_norm": norm})
        self.next_step += 1

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        config = self.config.optimizer
        return config.lr * rate_factor(step, self.config.training.steps, config)

    def fit(self, *, stop_at: int | None = None, minutes: float | None = None, report: Report | None = None) -> None:
        """Train up to ``training.steps``, writing logs and checkpoints on the way.

        Ends early, with a checkpoint, at step ``stop_at``, after ``minutes``, on SIGTERM, or where its launcher dies;
        ``--resume`` goes on. On SIGTERM the checkpoint comes first, and the resumed run makes up for the validation.

        Raises:
            CodecError: ``max_bad_steps`` non-finite steps in a row, or a disk that takes no more.
        """
        settings = self.config.training
        stop = min(settings.steps, stop_at or settings.steps)
        started = time.monotonic() - self.elapsed_s
        deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        logged_at, logged_step = time.monotonic(), self.next_step
        self.lm.train()
        with disk_errors_explained(self.run), caught_sigterm() as asked_to_stop:
            if self.unseen:
                self._validate(self.next_step)
                self.unseen = False
                if self.next_step >= stop:  # no later checkpoint will say that it was made up for
                    save_checkpoint(self.accelerator, self.run, self.next_step, settings)
            while self.next_step < stop:
                self.step()
                step, values = self.next_step, {}
                early = agreed(wished(asked_to_stop(), deadline), self.hosts)
                last = bool(early) or step == stop
                self.unseen = early == Stop.SIGNAL and (step % settings.validate_every == 0 or step == settings.steps)
                self.elapsed_s = time.monotonic() - started
                if step % settings.log_every == 0:
                    values = self.means.read(self.accelerator)
                    speed = (step - logged_step) * self.tokens_a_step / (time.monotonic() - logged_at)
                    values |= {
                        "lr": self.rate(step - 1),
                        "tokens_per_s": speed,
                        "bad_steps": float(self.bad_steps.total),
                    }
                    self._write(step, "train", {**values, "time_s": self.elapsed_s})
                    self.bad_steps.look(self.run)
                if report:
                    report(step, values)
                if early != Stop.SIGNAL and (step % settings.validate_every == 0 or last):
                    validation = self._validate(step)
                    if report and validation:
                        report(step, validation)
                if step % settings.checkpoint_every == 0 or last:
                    save_checkpoint(self.accelerator, self.run, step, settings)
                if step % settings.log_every == 0:
                    logged_at, logged_step = time.monotonic(), step
                if early == Stop.SIGNAL and self.accelerator.is_main_process:
                    self.plain_lm.save_pretrained(self.run / "last")
                if early:
                    logger.info("stopped early at step %d; --resume goes on", step)
                    break
        if self.log:
            self.log.close()

    def _validate(self, step: int) -> dict[str, float]:
        values: dict[str, float] = {}
        if self.validation is not None:
            rank, world = self.accelerator.process_index, self.accelerator.num_processes
            own = measure_likelihood(self.plain_lm, self.validation, rank, world)
            sums = torch.tensor(astuple(own), dtype=torch.float64)
            if self.hosts is not None:
                torch.distributed.all_reduce(sums, group=self.hosts)
            recordings, tokens, *bits = sums.tolist()
            found = Likelihood(int(recordings), int(tokens), *bits)
            values = {"validation_bits_a_token": found.bits_a_token}
            self._write(step, "validation", {"bits_a_token": found.bits_a_token})
        score = values.get("validation_bits_a_token", float("-inf"))
        better = score < self.best or score == float("-inf")  # without validation the last is the best
        self.best = min(self.best, score) if values else self.best
        if self.accelerator.is_main_process:
            for name in ("last", "best") if better else ("last",):
                self.plain_lm.save_pretrained(self.run / name)
        return values

    def _write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        if self.log:
            self.log.write(step, kind, values)

    # -- state, for Accelerate's checkpoints ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What model, optimiser and random generators do not hold."""
        return {
            "next_step": self.next_step,
            "elapsed_s": self.elapsed_s,
            "best": self.best,
            "unseen": self.unseen,
            "random": random_state(self.accelerator),
            "bad": [self.bad_steps.total, self.bad_steps.streak, self.bad_steps.worst],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.next_step, self.elapsed_s, self.best = state["next_step"], state["elapsed_s"], state["best"]
        self.bad_steps.take_over(state["bad"])
        restore_random_state(self.accelerator, state.get("random", {}))  # not in older checkpoints
        self.unseen = state.get("unseen", False)  # not in older checkpoints


def build_optimizer(lm: LanguageModel, config: LMOptimizerConfig) -> torch.optim.Optimizer:
    """AdamW, fused; weight decay for the matrices of the layers, none for embeddings and norms."""
    embeddings = {id(table.weight) for table in (lm.llama.get_input_embeddings(), lm.llama.get_output_embeddings())}
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in lm.parameters():
        decays = parameter.ndim == 2 and id(parameter) not in embeddings
        (matrices if decays else others).append(parameter)
    groups = [
        {"params": matrices, "name": "matrices", "weight_decay": config.weight_decay},
        {"params": others, "name": "others", "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def _read_settings(path: Path) -> LMConfig:
    return load_config(LMConfig, path)
