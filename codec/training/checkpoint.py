"""Whole training states: written atomically, kept as the settings say, resumed exactly."""

from __future__ import annotations

import errno
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor

from codec.config import Settings, differences, dump_yaml, load_run_config
from codec.devices import get_random_state, set_random_state
from codec.errors import CodecError
from codec.files import make_durable, write_text
from codec.model import Codec
from codec.pretrained import TRAINING_FILE
from codec.training.identity import check_same, note
from codec.training.wholeness import Damage, find_damage, seal

logger = logging.getLogger(__name__)

CONFIG = "config.yaml"
# What a resumed run may not change: the state would not fit, or its place in the data would mean another.
FIXED = (
    "model",
    "discriminators",
    "data.shuffle_shards",
    "data.shuffle_buffer",
    "data.batch_size",
    "optimizer.name",
    "training.seed",
)
# Of a disk that takes no more: full, over quota, over the largest file, broken, read-only.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class Keeping(Protocol):
    """Settings that say which checkpoints stay."""

    @property
    def keep_checkpoints(self) -> int:
        """The newest so many."""

    @property
    def milestone_every(self) -> int | None:
        """Steps whose checkpoints are kept for ever."""


def find_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every whole checkpoint of a run, oldest first."""
    found = []
    for folder in (run / "checkpoints").glob("step_*"):
        number = folder.name.removeprefix("step_")
        if folder.is_dir() and number.isdecimal():
            found.append((int(number), folder))
    return sorted(found)


def superseded(steps: list[int], settings: Keeping) -> list[int]:
    """Which of the checkpoints at ``steps`` (rising) may go: neither among the newest nor milestones."""
    old = steps[: -settings.keep_checkpoints]
    return [step for step in old if settings.milestone_every is None or step % settings.milestone_every]


def save_checkpoint(accelerator: Accelerator, run: Path, step: int, settings: Keeping) -> None:
    """Write ``checkpoints/step_N`` beside its place and rename it; then drop those that it supersedes.

    Whenever the process is killed or the power fails, a folder called ``step_N`` is whole.

    Raises:
        CodecError: it cannot be written; those that were there are untouched.
    """
    folder = run / "checkpoints" / f"step_{step}"
    temporary = folder.with_name(f".step_{step}.part")
    if accelerator.is_main_process:
        for left in folder.parent.glob(".step_*"):  # by a killed run, at this step or another
            shutil.rmtree(left)
    accelerator.wait_for_everyone()
    with _writing_explained(folder, temporary):
        accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        with _writing_explained(folder, temporary):
            seal(temporary)
        before = folder.with_name(f".{folder.name}.old")
        if folder.exists():
            folder.rename(before)
        temporary.rename(folder)
        make_durable(folder.parent)  # before older ones go
        shutil.rmtree(before, ignore_errors=True)
        by_step = dict(find_checkpoints(run))
        for old in superseded(list(by_step), settings):
            _remove(by_step[old])
    accelerator.wait_for_everyone()


def random_state(accelerator: Accelerator) -> dict[str, Tensor]:
    """By its kind, what the device of a run in one process draws from; dropout is to go on with it.

    Accelerate keeps that of CUDA devices, process by process, and of the processor, but not that of MPS.
    """
    device = accelerator.device
    alone = accelerator.num_processes == 1 and device.type != "cpu"
    return {device.type: get_random_state(device)} if alone else {}


def restore_random_state(accelerator: Accelerator, states: Mapping[str, Tensor]) -> None:
    """Go on from what :func:`random_state` gave; on another kind of device nothing is to be gone on with."""
    device = accelerator.device
    if accelerator.num_processes == 1 and device.type in states:
        set_random_state(device, states[device.type])


@contextmanager
def _writing_explained(folder: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    # torch.save says RuntimeError where the disk takes no more, safetensors an error of its own.
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CodecError(
            f"{folder}: writing failed ({_first_line(error)}); {_next_action(folder.parents[1])}"
        ) from None


def save_model(codec: Codec, folder: Path, step: int) -> None:
    """Write a model folder that says how many steps it was trained for, for its card (:mod:`codec.sharing`).

    Raises:
        CodecError: it cannot be written.
    """
    codec.save_pretrained(folder)
    write_text(folder / TRAINING_FILE, json.dumps({"step": step}) + "\n")


def _remove(folder: Path) -> None:
    """Delete a checkpoint; half deleted, it must not have its name any more."""
    hidden = folder.with_name(f".{folder.name}.old")
    folder.rename(hidden)
    shutil.rmtree(hidden)


@contextmanager
def disk_errors_explained(run: Path) -> Iterator[None]:
    """A full disk, wherever a run meets it, becomes one line that says what is safe.

    Raises:
        CodecError: the disk takes no more.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise CodecError(f"{run}: writing failed ({_first_line(error)}); {_next_action(run)}") from None


def _first_line(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).splitlines()[0]


def _next_action(run: Path) -> str:
    checkpoints = find_checkpoints(run)
    from_where = f"goes on from step {checkpoints[-1][0]}" if checkpoints else "then starts anew"
    return f"make room on the disk; --resume {from_where}"


def open_run(
    run: Path,
    config: Settings,
    *,
    resume: bool,
    main_process: bool,
    fixed: Sequence[str] = FIXED,
    load: Callable[[Path], Settings] = load_run_config,
    recordings: Mapping[str, int | str] | None = None,
) -> Path | None:
    """Check a run folder before training; returns the checkpoint to load, if any.

    Args:
        run: the folder.
        config: of the run that is about to begin.
        resume: go on with what is there.
        main_process: whether this one writes.
        fixed: settings that a resumed run may not change.
        load: reads the settings of the run that is there.
        recordings: what they are known by (:mod:`codec.training.identity`); None: ``fixed`` is enough.

    Raises:
        CodecError: a run that would be overwritten, settings or recordings that contradict the one to resume, or a
            damaged checkpoint.
    """
    checkpoints = find_checkpoints(run)
    if checkpoints and not resume:
        raise CodecError(f"{run}: holds a run already (step {checkpoints[-1][0]}); give --resume or another output=")
    if resume and checkpoints:
        earlier = load(run / CONFIG)
        _check_unchanged(earlier, config, fixed)
        if recordings is not None:
            check_same(run, recordings, earlier.model_dump(), config.model_dump())
        if main_process:  # one reading of it is enough
            _check_whole(checkpoints)
    if main_process:
        if resume and not checkpoints:
            logger.warning("%s: no checkpoint to resume from; training starts anew (look at output= if not meant)", run)
        write_text(run / CONFIG, dump_yaml(config))
        if recordings is not None:
            note(run, recordings)
    return checkpoints[-1][1] if checkpoints else None


def _check_unchanged(earlier: Settings, config: Settings, fixed: Sequence[str]) -> None:
    before, now = earlier.model_dump(), config.model_dump()
    for key in fixed:
        old, new = before, now
        for part in key.split("."):
            old, new = old[part], new[part]
        for name, was, wanted in differences(old, new, key):
            raise CodecError(
                f"{name}={wanted!r} contradicts the run being resumed ({was!r}); change it back, or start a new run "
                "with another output="
            )


def _check_whole(checkpoints: Sequence[tuple[int, Path]]) -> None:
    """Refuse a damaged newest checkpoint, and say which to go on from; what may go is the user's to say."""
    damages: list[Damage] = []
    advice = "no earlier checkpoint is whole, so start a new run with another output="
    for step, folder in reversed(checkpoints):
        damage = find_damage(folder)
        if damage is None:
            damaged = " and ".join(str(later) for number, later in checkpoints if number > step)
            advice = f"delete {damaged}, and --resume goes on from step {step}"
            break
        damages.append(damage)
    if damages:
        raise CodecError(f"{damages[0].file}: damaged ({damages[0].reason}); {advice}")
