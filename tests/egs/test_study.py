"""The study of the recipe's parts: what runs, what is refused, and that its intervals are intervals."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tiny import TINY

from codec import Codec
from codec.cli import run
from codec.config import dump_yaml, load_run_config
from codec.evaluation import bottlenecks
from codec.quantizers import REGISTRY

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
    assert "has no place for this" in capsys.readouterr().err and page.read_text() == "No marks."
    assert command(table, "--runs", tmp_path / "nothing") == 2
    assert "no row is scored yet" in capsys.readouterr().err


# -- what fails, and rows of other studies ---------------------------------------------------------------------------


def test_a_run_that_fails_says_why_and_stops_no_other(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stand-ins for the recipes, run as they are: in processes of their own."""
    study = module("study")
    (recipes := tmp_path / "recipes").mkdir()
    (recipes / "train.py").write_text(
        "import sys\nprint('step 1')\nif 'training.seed=0' in sys.argv:\n    sys.exit('error: 20 bad steps in a row')\n"
    )
    (recipes / "evaluate.py").write_text(
        "import pathlib, sys\nscores = pathlib.Path(sys.argv[-1])\nscores.mkdir()\n"
        "(scores / 'summary.json').write_text(sys.argv[4])\n"
    )
    rows = tmp_path / "rows.yaml"
    settings = ROOT / "egs" / "collapse" / "conf" / "codec_base.yaml"
    rows.write_text(f"rows:\n  - {{name: one, title: One, config: {settings}}}\n")
    monkeypatch.chdir(tmp_path)
    arguments = ("--study", rows, "-o", tmp_path / "out", "--seeds", "0,1", "--test-set", "other.jsonl")
    assert command(study, *arguments) == 2
    assert "1 of 2 runs failed: one, seed 0" in capfd.readouterr().err
    failed, done = tmp_path / "out/one/seed_0", tmp_path / "out/one/seed_1"
    assert "exit code 1: 20 bad steps in a row" in (failed / "failed.txt").read_text()
    assert "step 1" in (failed / "log.txt").read_text() and not (failed / "scores").exists()
    assert (done / "scores/summary.json").read_text() == "other.jsonl" and not (done / "failed.txt").exists()
    (recipes / "train.py").write_text("")  # what made it fail is mended: only that one is tried again
    (done / "scores/summary.json").write_text("kept")
    assert command(study, *arguments) == 0
    assert not (failed / "failed.txt").exists() and (failed / "scores/summary.json").exists()
    assert (done / "scores/summary.json").read_text() == "kept"


@pytest.mark.parametrize("file", ["codec_rows", "codec_random_rows"])
def test_every_bottleneck_has_a_row_at_equal_rate_and_budget(module: Any, file: str) -> None:
    study = module("study")
    rows = study.read_rows(ROOT / f"egs/collapse/conf/{file}.yaml")
    found = {name: load_run_config(row.config, study.overrides(row, "0", Path("x"), [])) for name, row in rows.items()}
    assert {config.model.quantizer.codebook_size for config in found.values()} == {4096}
    budgets = {(c.training.steps, c.data.batch_size, c.data.crop_s, c.training.discriminator_start, c.optimizer.lr)
               for c in found.values()}  # fmt: skip
    assert len(budgets) == 1 and next(iter(budgets))[0] == 200
    if file == "codec_rows":
        assert {name: config.model.quantizer.name for name, config in found.items()} == {n: n for n in REGISTRY}


def test_runs_become_lines_of_results(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "egs" / "collapse"))
    results = module("codec_results")
    codec = Codec(TINY).eval()
    good, bad = tmp_path / "vq/seed_3", tmp_path / "vq/seed_10"
    codec.save_pretrained(good / "run/last")
    (good / "scores").mkdir()
    size, D = codec.codebook_size, codec.latent_dim
    summary = {"test_set": "test-mini", "rate": {"codebook_size": size, "codes_used": 2, "perplexity": 1.9,
               "entropy_bits": 0.9}, "metrics": {"pesq_wb": {"mean": None}, "stoi": {"mean": 0.5},
               "mel_distance": {"mean": 1.5}}}  # fmt: skip
    (good / "scores/summary.json").write_text(json.dumps(summary))
    (good / "scores/utterances.jsonl").write_text('{"tokens": [1, 2, 2]}\n{"tokens": null}\n')
    entries = [{"step": 10, "kind": "train"}, {"step": 20, "kind": "train", "codes_used": 5.0},
               {"step": 20, "kind": "validation", "effective_dimension/codebook": 7.0,
                "effective_dimension/latents": 9.0}]  # fmt: skip
    (good / "run/metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (bad / "run").mkdir(parents=True)
    (bad / "run/config.yaml").write_text("model: {preset: tiny}\n")
    (bad / "failed.txt").write_text("diverged\n")
    (tmp_path / "ema/seed_0").mkdir(parents=True)  # neither scored nor failed
    assert command(results, tmp_path) == 0
    one, two = bottlenecks.read_results([tmp_path / "results.jsonl"])
    assert (one.system, one.codebook_size, one.seed, one.source) == ("vq", size, 3, "test-mini")
    assert one.values == {"stoi": 0.5, "mel": 1.5, "codes_used": 2, "perplexity": 1.9, "entropy_bits": 0.9,
                          "effective_dimension": 7.0, "latent_dimension": 9.0, "learned": D * D + D,
                          "held": size * D}  # fmt: skip
    assert one.use == [(20, 5.0)] and one.map is not None and sorted(one.map.uses.tolist())[-2:] == [1, 2]
    assert (two.seed, two.failed, two.source, two.map) == (10, "diverged", "test-mini", None)
    assert command(results, tmp_path, "--source", "other start") == 0
    assert {run.source for run in bottlenecks.read_results([tmp_path / "results.jsonl"])} == {"other start"}
    assert command(results, tmp_path / "ema") == 2
