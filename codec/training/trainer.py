"""The training loop around one visible step."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from codec.config import LossConfig, RunConfig
from codec.errors import CodecError
from codec.model import Codec, CodecOutput
from codec.training.bad_steps import BadSteps
from codec.training.checkpoint import (
    disk_errors_explained,
    find_checkpoints,
    open_run,
    random_state,
    restore_random_state,
    save_checkpoint,
    save_model,
)
from codec.training.compiling import compile_errors_explained, compile_parts
from codec.training.data import StepSampler, crop_loader, open_crops
from codec.training.discriminators import Discriminators
from codec.training.ema import EMA
from codec.training.gradients import detached, freeze, into_training, leave_untaught, nothing_of, stand_in
from codec.training.identity import identify
from codec.training.losses import MelLoss, discriminator_terms, generator_terms, mean_loudness, weighted_sum
from codec.training.metrics import RunLog
from codec.training.optimizer import (
    build_optimizers,
    forget_moments,
    set_back_if,
    set_rates,
    settings_kept,
    step_unless,
)
from codec.training.preemption import Stop, agreed, caught_sigterm, wished
from codec.training.reporting import Report, Reporter
from codec.training.schedule import learning_rates, losses_at
from codec.training.start import start_from
from codec.training.streamed import StreamedCrops
from codec.training.validation import Validation
from codec.training.warmup import gather_latents, initialize_bottleneck

logger = logging.getLogger(__name__)


class Trainer:
    """Trains one codec against its discriminators; see :meth:`step`.

    The generator meets the discriminators as they were before the step, as in the published order (generator first,
    then discriminators on the same reconstruction). Both gradients are taken before either side moves, so the real
    audio's features, computed once for the discriminators' loss, serve feature matching too.

    Args:
        config: all settings; ``config.output`` is the run folder.
        accelerator: made by the caller with ``config.training.mixed_precision``.
        resume: go on from the newest checkpoint of the run folder, if there is one.

    Raises:
        CodecError: a setting, manifest or run folder that does not fit; nothing has been written then.
    """

    def __init__(self, config: RunConfig, accelerator: Accelerator, *, resume: bool = False) -> None:
        self.config, self.accelerator = config, accelerator
        self.run = Path(config.output)
        settings, device = config.training, accelerator.device
        self.dataset = open_crops(config.data, config.model.sample_rate, settings.seed)
        self.validation = Validation(accelerator, config)
        self._batches(0, 0)  # refuses a batch size that the processes cannot share
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = settings.cudnn_benchmark

        set_seed(settings.seed)
        codec = Codec(config.model)
        discriminators = Discriminators(config.discriminators, channels_last=settings.channels_last)
        # What is resumed has its weights from the checkpoint, and the first model may be gone by then.
        if config.init_from is not None and not (resume and find_checkpoints(self.run)):
            start_from(codec, config, config.init_from, main_process=accelerator.is_main_process)
        if settings.accumulate > 1 and codec.quantizer.needs_whole_batch():
            raise CodecError(
                f"training.accumulate={settings.accumulate}: model.quantizer.name={config.model.quantizer.name} as set "
                f"here takes a batch as a whole, so micro-batches are not one batch to it; set training.accumulate=1 "
                f"(and a lower data.batch_size if memory is short)"
            )
        freeze(codec, settings.frozen)
        leave_untaught(discriminators, config.losses)
        if settings.compile:
            compile_parts(codec, discriminators, device)
        # From here on something is written.
        main_process, recordings = accelerator.is_main_process, identify(self.dataset)
        checkpoint = open_run(self.run, config, resume=resume, main_process=main_process, recordings=recordings)
        self.mel = MelLoss(config.model.sample_rate, config.losses).to(device)
        self.ema = EMA(codec, settings.ema_decay)
        self.ema.codec.to(device)  # after copying: a copied LSTM has its weights in pieces until it is moved
        self.codec: nn.Module
        self.discriminators: nn.Module
        optimizers, discriminator_optimizer = build_optimizers(codec, discriminators, config.optimizer)
        self.codec = accelerator.prepare(codec)
        self.optimizers = [accelerator.prepare(optimizer) for optimizer in optimizers]
        self.discriminator_optimizer = accelerator.prepare(discriminator_optimizer)
        # The data-parallel wrapper refuses a module without weights to train.
        trained = any(parameter.requires_grad for parameter in discriminators.parameters())
        self.discriminators = accelerator.prepare(discriminators) if trained else discriminators.to(device)
        # Without the data-parallel wrapper, which may only see passes that end in gradients of its own parameters.
        self.plain_codec: Codec = accelerator.unwrap_model(self.codec)
        self.plain_discriminators: Discriminators = accelerator.unwrap_model(self.discriminators)
        # Lists, because collecting weights from the modules takes the host milliseconds a step.
        self.trained = list(self.plain_codec.parameters())
        self.taught = [weight for weight in self.plain_discriminators.parameters() if weight.requires_grad]

        self.warmup_steps = round(settings.bottleneck_warmup.share * settings.steps)
        self.next_step = 0
        self.elapsed_s = 0.0
        self.best = float("inf")  # validation mel of best/
        self.bad_steps = BadSteps(device, settings.max_bad_steps)
        # Where losses.normalize_commitment is set: of the latents that the bottleneck first meets.
        self.latent_variance = torch.ones((), device=device)
        self.unseen = False  # stopped in a hurry: the validation and samples of this step are still to come
        self.reporter = Reporter(accelerator, config, None, self.plain_codec.codebook_size)
        accelerator.register_for_checkpointing(self)
        set_seed(settings.seed, device_specific=True)  # dropout differs between processes
        if checkpoint is not None:
            warmup_steps = self.warmup_steps
            with settings_kept([*self.optimizers, self.discriminator_optimizer]):
                accelerator.load_state(str(checkpoint))
            logger.info("resumed from %s", checkpoint)
            if warmup_steps != self.warmup_steps:
                logger.info(
                    "training.bottleneck_warmup.share=%g of %d steps is %d steps of warm-up; this run keeps its %d",
                    settings.bottleneck_warmup.share,
                    settings.steps,
                    warmup_steps,
                    self.warmup_steps,
                )
        # Asking the others through the CPU makes no host wait for its device.
        self.hosts = torch.distributed.new_group(backend="gloo") if accelerator.num_processes > 1 else None
        if accelerator.is_main_process:
            # The bottleneck is set, at any step, after its checkpoint.
            to_come = ("switch", "validation") if self.unseen else ("switch",)
            self.reporter.log = RunLog(self.run, self.next_step, to_come)

    # -- the step -------------------------------------------------------------------------------------------------

    def step(self, micro_batches: list[Tensor]) -> None:
        """One update of the generator and, from ``discriminator_start`` on, of the discriminators.

        Nothing in here makes the host wait for the device. A step with a non-finite gradient changes no weight and
        nothing of the bottleneck's own statistics, and is counted.

        Args:
            micro_batches: ``training.accumulate`` times this process' share, (B, 1, T).
        """
        step, settings = self.next_step, self.config.training
        losses, bypass = losses_at(step, settings, self.config.losses), step < self.warmup_steps
        adversarial = step >= settings.discriminator_start and len(self.plain_discriminators) > 0
        moving = self.plain_codec.quantizer.self_moving()
        before = [state.detach().clone() for state in moving]
        targets = [self.mel.targets(real) for real in micro_batches]
        levels = self._levels(targets) if losses.loudness > 0 else None
        for index, (real, target) in enumerate(zip(micro_batches, targets, strict=True)):
            with ExitStack() as stack:
                if index < len(micro_batches) - 1:  # gradients meet the other processes' only once a step
                    stack.enter_context(self.accelerator.no_sync(self.codec))
                    stack.enter_context(self.accelerator.no_sync(self.discriminators))
                output: CodecOutput = self.codec(real, bypass_quantizer=bypass)
                terms = {
                    **self.mel.terms(output.audio, target, levels),
                    "commitment": output.quantizer.loss / self.latent_variance,
                }
                loss = weighted_sum(terms, losses)
                if losses.commitment == 0 and loss.requires_grad:
                    loss = loss + nothing_of(self.plain_codec.quantizer)
                if adversarial:
                    against, pull = self._contest(output.audio, real, losses, len(micro_batches))
                    terms |= against
                    loss = loss + pull
                self._backward(loss, len(micro_batches))
            self.reporter.add_losses(terms)
            self.reporter.add_output(output, bypass=bypass)

        rates = self._rates(step)
        norms = {"grad_norm/generator": self._clip(self.trained)}
        if adversarial and self.taught:
            norms["grad_norm/discriminator"] = self._clip(self.taught)
        bad = ~torch.stack(list(norms.values())).isfinite().all()
        for optimizer in (*self.optimizers, self.discriminator_optimizer) if adversarial else self.optimizers:
            set_rates(optimizer, rates)
            step_unless(bad, optimizer)
        set_back_if(bad, moving, before)
        self.ema.update(self.plain_codec)
        self.bad_steps.count(bad)
        self.reporter.means.add(norms)
        self.next_step = step + 1

    def _rates(self, step: int) -> dict[str, float]:
        """Learning rates of a step, by group."""
        rates = learning_rates(step, self.config.training, self.config.optimizer)
        if step < self.warmup_steps:
            # Nothing teaches the bottleneck yet, and weight decay must not shrink what it starts from.
            rates["quantizer"] = 0.0
        return rates

    def _levels(self, targets: list[list[Tensor]]) -> Tensor:
        """Mean loudness of the step's real speech, (scales,): relative to its own, a faint part would count more."""
        own = torch.stack([mean_loudness(target) for target in targets]).mean(dim=0)
        levels: Tensor = self.accelerator.reduce(own, "mean")
        return levels

    def _contest(
        self, audio: Tensor, real: Tensor, losses: LossConfig, micro_batches: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Teach the discriminators, and hear from the same pass what they make of the generator.

        Returns:
            The generator's terms for the log, and what stands for them in its loss.
        """
        fake = audio.detach().requires_grad_()  # both graphs end here
        on_fake, on_real = self.discriminators(fake, real)
        judging = discriminator_terms(on_fake, on_real)
        self.reporter.add_losses(judging)
        self._backward(weighted_sum(judging, losses), micro_batches, inputs=self.taught, retain_graph=True)
        terms = generator_terms(on_fake, detached(on_real))
        pull = stand_in(weighted_sum(terms, losses), fake, audio)
        return {name: value.detach() for name, value in terms.items()}, pull

    def _backward(self, loss: Tensor, micro_batches: int, **options: Any) -> None:
        if loss.requires_grad:  # not where every weight of the discriminators' losses is 0
            self.accelerator.backward(loss / micro_batches, **options)

    def _clip(self, weights: list[nn.Parameter]) -> Tensor:
        limit = self.config.optimizer.clip_norm
        if limit is None:  # a limit that is never met would still be multiplied into every gradient
            return get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        norm: Tensor = self.accelerator.clip_grad_norm_(weights, limit)
        return norm.detach()

    # -- the loop -------------------------------------------------------------------------------------------------

    def fit(self, *, stop_at: int | None = None, minutes: float | None = None, report: Report | None = None) -> None:
        """Train up to ``training.steps``, writing logs, samples and checkpoints on the way.

        Ends early, with a checkpoint, at step ``stop_at``, after ``minutes``, on SIGTERM, or where its launcher dies;
        ``--resume`` goes on. On SIGTERM the checkpoint comes first, since SIGKILL may follow within seconds, and the
        resumed run makes up for the validation.

        Raises:
            CodecError: an unreadable utterance, or ``max_bad_steps`` non-finite steps in a row.
        """
        settings, reporter = self.config.training, self.reporter
        stop = min(settings.steps, stop_at or settings.steps)
        if self.next_step >= settings.steps:
            logger.info("the run is at step %d, and training.steps=%d: nothing is left", self.next_step, settings.steps)
        started = time.monotonic() - self.elapsed_s
        deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        reporter.watch = report
        reporter.start_clock(self.next_step)
        batches = self._batches(self.next_step, stop)
        into_training(self.plain_codec, settings.frozen)
        with disk_errors_explained(self.run), compile_errors_explained(), caught_sigterm() as asked_to_stop:
            if self.unseen:
                self._show(self.next_step, last=self.next_step == settings.steps)
                self.unseen = False
                if self.next_step >= stop:  # no later checkpoint will say that it was made up for
                    save_checkpoint(self.accelerator, self.run, self.next_step, settings)
            while self.next_step < stop:
                if self.next_step == self.warmup_steps:
                    self._begin_quantizing()
                device = self.accelerator.device
                self.step([b.to(device, non_blocking=True) for b in islice(batches, settings.accumulate)])
                step = self.next_step
                early = agreed(wished(asked_to_stop(), deadline), self.hosts)
                last = bool(early) or step == stop
                self.unseen = early == Stop.SIGNAL
                self.elapsed_s = time.monotonic() - started
                reporter.stepped(step)
                if step % settings.log_every == 0:
                    facts = {f"lr/{group}": rate for group, rate in self._rates(step - 1).items()}
                    facts |= {"bad_steps": float(self.bad_steps.total), "time_s": self.elapsed_s}
                    reporter.log_training(step, self.plain_codec.quantizer, facts)
                    self.bad_steps.look(self.run)
                if not self.unseen:
                    self._show(step, last)
                if step % settings.checkpoint_every == 0 or last:
                    save_checkpoint(self.accelerator, self.run, step, settings)
                if step % settings.log_every == 0:
                    reporter.start_clock(step)
                if early:
                    logger.info("stopped early at step %d; --resume goes on", step)
                    break
            if self.unseen and self.accelerator.is_main_process:
                save_model(self.ema.codec, self.run / "last", self.next_step)
            reporter.close()

    def _batches(self, start: int, stop: int) -> Iterator[Tensor]:
        data, accelerator = self.config.data, self.accelerator
        sampler = StepSampler(
            data.batch_size,
            start,
            stop,
            accumulate=self.config.training.accumulate,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )
        return crop_loader(self.dataset, sampler, data.workers, pin_memory=accelerator.device.type == "cuda")

    def _begin_quantizing(self) -> None:
        """From here on through the bottleneck; after a warm-up it is set from the latents, and nothing is frozen."""
        settings, losses = self.config.training.bottleneck_warmup, self.config.losses
        if self.warmup_steps == 0 and not losses.normalize_commitment:
            return
        step = self.next_step
        position = step * self.config.data.batch_size
        latents = gather_latents(self.accelerator, self.plain_codec, self.dataset, position, settings.latents)
        if isinstance(self.dataset, StreamedCrops):
            self.dataset.close()
        variance = latents.var(dim=0, correction=0).mean().clamp(min=1e-12)
        if losses.normalize_commitment:
            self.latent_variance = variance
        if self.warmup_steps > 0:
            facts = initialize_bottleneck(self.plain_codec.quantizer, latents, settings.init, seed=step)
            forget_moments(self.optimizers, self.plain_codec.quantizer.parameters())
            self.ema.copy_part("quantizer", self.plain_codec)
            self.reporter.write(step, "switch", {**facts, "latent_variance": float(variance)})

    def _show(self, step: int, last: bool) -> None:
        """Validation and samples, where they are due."""
        settings, log = self.config.training, self.reporter.log
        if step % settings.validate_every == 0 or last:
            self._validate(step)
        if log and (step % settings.sample_every == 0 or last):
            self.validation.draw_samples(self.ema.codec, log.board, step, bypass=step <= self.warmup_steps)

    def _validate(self, step: int) -> None:
        bypass = step <= self.warmup_steps and self.warmup_steps > 0
        values = self.validation.run(self.ema.codec, self.mel, self.latent_variance, bypass=bypass)
        if not self.accelerator.is_main_process:
            return
        save_model(self.ema.codec, self.run / "last", step)
        # An autoencoder whose codebook is not set yet is no best codec.
        if not bypass and values.get("loss/mel", float("-inf")) < self.best:
            self.best = values.get("loss/mel", self.best)
            save_model(self.ema.codec, self.run / "best", step)
        if values:  # none without validation crops
            self.reporter.write(step, "validation", values)

    # -- state, for Accelerate's checkpoints ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What the models, optimisers and random generators do not hold; every process must call this."""
        usage = self.reporter.usage
        usage.join_processes()
        tokens = usage.occurring()
        if not self.accelerator.is_main_process:  # which has the others' now
            usage.reset()
        return {
            "unseen": self.unseen,
            "random": random_state(self.accelerator),
            "means": self.reporter.means.state_dict(self.accelerator),
            "tokens": tokens,
            "next_step": self.next_step,
            "warmup_steps": self.warmup_steps,
            "elapsed_s": self.elapsed_s,
            "best": self.best,
            "best_of": self.validation.identity,
            "latent_variance": self.latent_variance,
            "bad_steps": self.bad_steps.total,
            "bad_streak": self.bad_steps.streak,
            "worst_streak": self.bad_steps.worst,
            "ema": self.ema.codec.state_dict(),
            "ema_updates": self.ema.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.next_step, self.elapsed_s, self.best = state["next_step"], state["elapsed_s"], state["best"]
        if state.get("best_of", self.validation.identity) != self.validation.identity:  # not in older checkpoints
            logger.info("the mel loss of validation is another one now: the next validation makes best/ anew")
            self.best = float("inf")
        # A share of other steps than at the start would bring a warm-up back that is over, and set the codebook anew.
        self.warmup_steps = state["warmup_steps"]
        device = self.accelerator.device
        self.bad_steps.take_over(state[name] for name in ("bad_steps", "bad_streak", "worst_streak"))
        self.latent_variance = state["latent_variance"].to(device)
        self.ema.codec.load_state_dict(state["ema"])
        self.ema.updates = state["ema_updates"]
        restore_random_state(self.accelerator, state.get("random", {}))  # not in older checkpoints, as what follows
        self.unseen = state.get("unseen", False)
        self.reporter.means.load_state_dict(state.get("means", {}), self.accelerator)
        if self.accelerator.is_main_process and "tokens" in state:
            codes, times = state["tokens"]
            self.reporter.usage.update(codes, times.to(device))
