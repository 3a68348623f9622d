"""A run that is killed without warning, again and again, is the run that was left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from killing import kill_when, start
from safetensors.torch import load_file

from codec import RunConfig
from codec.config import dump_yaml

STEPS = 12
FILES = ("model.safetensors", "model_1.safetensors", "../../last/model.safetensors")
OFTEN = {
    "data": {"validation": []},
    "training": {
        "steps": STEPS,
        "log_every": 1,
        "validate_every": STEPS,
        "sample_every": STEPS,
        "checkpoint_every": 1,
        "milestone_every": 5,
    },
}


def settings_of(config: RunConfig) -> Path:
    path = Path(f"{config.output}.yaml")
    path.write_text(dump_yaml(config), encoding="utf-8")
    return path


def test_three_kills_change_nothing(make_config: Callable[..., RunConfig]) -> None:
    left_alone, killed = make_config("left_alone", **OFTEN), make_config("killed", **OFTEN)
    process = start(settings_of(left_alone))
    process.join()
    assert process.exitcode == 0

    run, settings = Path(killed.output), settings_of(killed)
    checkpoints = run / "checkpoints"
    moments = (
        lambda: (checkpoints / ".step_3.part").exists(),  # while it writes, within the warm-up
        lambda: (checkpoints / "step_5").exists(),  # just written; the one before is being deleted
        lambda: (checkpoints / ".step_8.part").exists(),  # with discriminators
    )
    for moment in moments:
        assert kill_when(start(settings), moment)
    process = start(settings)
    process.join()
    assert process.exitcode == 0

    for file in FILES:
        one, other = (load_file(Path(c.output) / "checkpoints" / f"step_{STEPS}" / file) for c in (left_alone, killed))
        assert one.keys() == other.keys()
        assert [name for name in one if not one[name].equal(other[name])] == []
    logs = [
        [
            {key: value for key, value in json.loads(line).items() if key not in ("audio_s_per_s", "time_s")}
            for line in (Path(config.output) / "metrics.jsonl").read_text().splitlines()
        ]
        for config in (left_alone, killed)
    ]
    assert logs[0] == logs[1]
    # The two newest and the milestones; nothing half-written.
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step_10", "step_11", "step_12", "step_5"]
