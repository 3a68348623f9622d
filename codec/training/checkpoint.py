"""Whole training states: written atomically, the newest kept, resumed exactly."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from codec.config import RunConfig, dump_yaml, load_run_config
from codec.errors import CodecError
from codec.files import write_text

CONFIG = "config.yaml"
# What a resumed run may not change: the state would not fit, or mean something else.
FIXED_SECTIONS = ("model", "discriminators")


def find_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every whole checkpoint of a run, oldest first."""
    found = []
    for folder in (run / "checkpoints").glob("step_*"):
        number = folder.name.removeprefix("step_")
        if folder.is_dir() and number.isdecimal():
            found.append((int(number), folder))
    return sorted(found)


def save_checkpoint(accelerator: Accelerator, run: Path, step: int, keep: int) -> None:
    """Write ``checkpoints/step_N`` beside its place and rename it; then drop all but the newest ``keep``."""
    folder = run / "checkpoints" / f"step_{step}"
    temporary = folder.with_name(f".step_{step}.part")
    if accelerator.is_main_process:
        for left in folder.parent.glob(".step_*.part"):  # by a killed run, at this step or another
            shutil.rmtree(left)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        for _, old in find_checkpoints(run)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def open_run(run: Path, config: RunConfig, *, resume: bool, main_process: bool) -> Path | None:
    """Check a run folder before training; returns the checkpoint to load, if any.

    Raises:
        CodecError: a run that would be overwritten, or settings that contradict the one to resume.
    """
    checkpoints = find_checkpoints(run)
    if checkpoints and not resume:
        raise CodecError(f"{run}: holds a run already (step {checkpoints[-1][0]}); give --resume or another output=")
    if resume and checkpoints:
        _check_unchanged(run / CONFIG, config)
    if main_process:
        write_text(run / CONFIG, dump_yaml(config))
    return checkpoints[-1][1] if checkpoints else None


def _check_unchanged(path: Path, config: RunConfig) -> None:
    before = load_run_config(path)
    for section in FIXED_SECTIONS:
        difference = _first_difference(
            getattr(before, section).model_dump(), getattr(config, section).model_dump(), section
        )
        if difference:
            key, old, new = difference
            raise CodecError(f"{key}={new!r} contradicts the run being resumed ({old!r}); change it back or start anew")


def _first_difference(old: Any, new: Any, key: str) -> tuple[str, Any, Any] | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old:
            found = _first_difference(old[name], new.get(name), f"{key}.{name}")
            if found:
                return found
        return None
    return None if old == new else (key, old, new)
