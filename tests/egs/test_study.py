"""The study of the recipe's parts: what runs, what is refused, and that its intervals are intervals."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from codec.cli import run
from codec.config import dump_yaml, load_run_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules of the study by name; they read their settings from the repository's root."""
    monkeypatch.syspath_prepend(str(ROOT / "egs" / "mini"))
    monkeypatch.chdir(ROOT)

    def get(name: str) -> ModuleType:
        return importlib.import_module(name)

    return get


def command(module: ModuleType, *arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run(module.app, [str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def put_run(module: Any, folder: Path, row: str, seed: int, scores: dict[str, float], codes_used: int = 7) -> None:
    """What a run leaves behind that is trained and scored, as far as the study reads it."""
    study = module("study")
    where = folder / row / f"seed_{seed}"
    chosen = study.read_rows()[row]
    config = load_run_config(study.CONF / chosen.config, study.overrides(chosen, str(seed), where, []))
    (where / "run" / "checkpoints" / "step_160").mkdir(parents=True)
    (where / "run" / "config.yaml").write_text(dump_yaml(config))
    dimensions = {"effective_dimension/latents": 20.0 + seed, "effective_dimension/codebook": 30.0}
    entries = [{"step": 80, "kind": "validation"}, {"step": 160, "kind": "validation", **dimensions}, {"kind": "train"}]
    (where / "run" / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (where / "scores").mkdir()
    (where / "scores" / "summary.json").write_text(json.dumps({"rate": {"codes_used": codes_used}}))
    with (where / "scores" / "utterances.jsonl").open("w") as file:
        for id_, score in scores.items():
            values = {"stoi": score, "mel_distance": 1 - score, **({} if id_ == "hard" else {"pesq_wb": 1 + score})}
            file.write(json.dumps({"id": id_, "scores": values}) + "\n")


# -- what runs ---------------------------------------------------------------------------------------------------------


def test_every_row_has_settings_that_a_run_accepts(module: Any) -> None:
    study = module("study")
    rows = study.read_rows()
    budgets = set()
    for name, row in rows.items():
        config = load_run_config(study.CONF / row.config, study.overrides(row, "1", Path("x") / name, []))
        budgets.add((config.training.steps, config.data.batch_size * config.data.crop_s))
        assert config.training.seed == 1 and config.output == f"x/{name}/run"
    assert len(budgets) == 1  # equal steps and audio a step
    assert {"reference", "better"} <= rows.keys()


def test_what_is_scored_is_left_and_the_rest_is_trained_and_scored(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = module("study")
    put_run(module, tmp_path, "better", 0, {"a": 0.5})
    (tmp_path / "better" / "seed_1" / "run" / "checkpoints" / "step_80").mkdir(parents=True)
    row = study.read_rows()["better"]
    begun = load_run_config(study.CONF / row.config, study.overrides(row, "1", Path("elsewhere"), []))
    (tmp_path / "better" / "seed_1" / "run" / "config.yaml").write_text(dump_yaml(begun))
    started: list[tuple[object, ...]] = []
    monkeypatch.setattr(study, "_run", lambda *arguments: started.append(arguments))
    assert command(study, "--rows", "better,no_gain", "--seeds", "0,1", "-o", tmp_path) == 0
    trained = [arguments for arguments in started if arguments[0] == "recipes/train.py"]
    outputs = [str(arguments[-1]).removeprefix(f"output={tmp_path}/") for arguments in trained]
    assert outputs == ["no_gain/seed_0/run", "better/seed_1/run", "no_gain/seed_1/run"]
    assert ["--resume" in arguments for arguments in trained] == [False, True, False]
    assert "data.gain_db=[0.0, 0.0]" in trained[0] and "training.seed=0" in trained[0]
    assert len([arguments for arguments in started if arguments[0] == "recipes/evaluate.py"]) == 3


def test_a_row_that_has_changed_since_is_refused_before_anything_runs(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, table = module("study"), module("study_table")
    put_run(module, tmp_path, "better", 1, {"a": 0.5})
    monkeypatch.setattr(study, "_run", lambda *arguments: pytest.fail("nothing may run"))
    rows = {name: row.model_copy(update={"set": ("optimizer.lr=2e-3",)}) for name, row in study.read_rows().items()}
    monkeypatch.setattr(study, "read_rows", lambda: rows)
    monkeypatch.setattr(table, "read_rows", lambda: rows)
    assert command(study, "--rows", "no_gain,better", "--seeds", "0,1", "-o", tmp_path) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'better/seed_1'}: trained with optimizer.lr=0.001, but row better now says 0.002" in said
    assert command(table, "--runs", tmp_path) == 2
    assert "optimizer.lr=0.001" in capsys.readouterr().err
    assert command(table, "--runs", tmp_path, "--set", "optimizer.lr=1e-3") == 0  # as it was trained


def test_settings_that_are_none_are_refused_at_once(
    module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = module("study")
    assert command(study, "--rows", "better,beter", "-o", tmp_path) == 2
    assert "beter not in rows.yaml; known are reference" in capsys.readouterr().err
    assert command(study, "--rows", "better", "--seeds", "0,one", "-o", tmp_path) == 2
    assert "training.seed='one'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# -- the table ---------------------------------------------------------------------------------------------------------


def test_seeds_that_agree_make_no_interval_narrower(module: Any) -> None:
    """Three seeds with the same scores say as much as one: the utterances are the same."""
    table = module("study_table")
    scores = np.random.default_rng(1).normal(size=(1, 18))
    mean, low, high = table.interval(scores)
    again = table.interval(np.repeat(scores, 3, axis=0))
    assert mean == pytest.approx(scores.mean()) and again[0] == pytest.approx(mean)
    assert again[2] - again[1] == pytest.approx(high - low, rel=0.1)
    assert high - low == pytest.approx(2 * 1.96 * scores.std() / 18**0.5, rel=0.1)


def test_seeds_that_disagree_make_it_wider(module: Any) -> None:
    table = module("study_table")
    scores = np.zeros((3, 18)) + np.array([[0.0], [1.0], [2.0]])
    assert table.interval(scores) == (1.0, 0.0, 2.0)  # of 27 equally likely draws, one is all the lowest: 3.7 %
    assert table.interval(np.zeros((0, 0))) is None


def test_differences_are_of_the_same_seeds_and_utterances(module: Any) -> None:
    table = module("study_table")
    one = {"0": {"a": 1.0, "b": 2.0, "c": 9.0}, "1": {"a": 3.0, "b": 4.0}, "2": {"a": 5.0}}
    other = {"1": {"b": 3.5, "a": 1.0}, "0": {"a": 0.5, "b": 2.0}}
    assert table.table_of(one, other).tolist() == [[0.5, 0.0], [2.0, 0.5]]
    assert table.table_of(one).tolist() == [[1.0], [3.0], [5.0]]
    assert table.table_of(one, {}).size == 0


def test_the_page_has_rows_differences_and_what_is_missing(
    module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = module("study_table")
    for seed in range(3):
        put_run(module, tmp_path / "runs", "better", seed, {"a": 0.5, "b": 0.7, "hard": 0.2}, codes_used=100 + seed)
        put_run(module, tmp_path / "runs", "no_gain", seed, {"a": 0.4, "b": 0.6, "hard": 0.1})
    page = tmp_path / "RESULTS.md"
    page.write_text(f"Before.\n\n{table.MARKS[0]}\nold\n{table.MARKS[1]}\n\nAfter.\n")
    assert command(table, "--runs", tmp_path / "runs", "--write", page) == 0
    text = page.read_text()
    assert text.startswith("Before.\n") and text.endswith("\nAfter.\n") and "old" not in text
    assert "| better | 3 | 1.600 (1.500 to 1.700) | 0.467 (0.200 to 0.700) |" in text
    assert "| 101 ± 2 | 21 ± 2 | 30 ± 0 |" in text
    assert "| better without random gain | 3 | -0.100 (-0.100 to -0.100) | -0.100 (-0.100 to -0.100) |" in text
    assert "- better: PESQ-WB of 2 of 3 utterances" in text
    assert "STOI of" not in text
    page.write_text("No marks.")
    assert command(table, "--runs", tmp_path / "runs", "--write", page) == 2
    assert "has no place for the table" in capsys.readouterr().err and page.read_text() == "No marks."
    assert command(table, "--runs", tmp_path / "nothing") == 2
    assert "no row is scored yet" in capsys.readouterr().err
