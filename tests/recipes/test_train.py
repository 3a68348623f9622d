"""recipes/train.py as a person starts it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import codec.audio as audio_io
from codec import Codec, CodecError, ModelConfig, bundled, load_run_config
from codec.config import build
from codec.manifest import Utterance, write_manifest
from codec.training.start import start_from

ROOT = Path(__file__).parents[2]

SETTINGS = """
output: {output}
model:
  encoder: {{channels: 2, strides: [8, 5, 4, 2], latent_dim: 8, lstm_layers: 0}}
  quantizer: {{codebook_size: 16}}
  decoder: {{dim: 16, hidden_dim: 16, layers: 1, residual_blocks: 0, attention: false, group_norm_groups: 4}}
discriminators: {{periods: [2], period_channels: [2], resolutions: [], dac_periods: [], dac_fft_sizes: []}}
data: {{train: [{manifest}], validation: [{manifest}], batch_size: 2, crop_s: 0.1, workers: 0}}
training: {{steps: 4, log_every: 1, validate_every: 2, sample_every: 4, checkpoint_every: 2}}
"""


@pytest.fixture
def config(tmp_path: Path, speech_path: Path) -> Path:
    info = audio_io.info(speech_path)
    write_manifest(tmp_path / "m.jsonl", [Utterance("u", speech_path, info.num_samples, info.sample_rate)])
    path = tmp_path / "run.yaml"
    path.write_text(SETTINGS.format(output=tmp_path / "run", manifest=tmp_path / "m.jsonl"), encoding="utf-8")
    return path


def train(*arguments: str, launcher: tuple[str, ...] = (sys.executable,)) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*launcher, str(ROOT / "recipes" / "train.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=200,
    )


def test_trains_stops_and_resumes_under_accelerate(config: Path, tmp_path: Path) -> None:
    launcher = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1")
    first = train("--config", str(config), "--stop-at", "2", launcher=launcher)
    assert first.returncode == 0, first.stderr
    second = train("--config", str(config), "--resume", launcher=launcher)
    assert second.returncode == 0, second.stderr
    assert str(tmp_path / "run" / "best") in second.stdout
    assert "step 4 train: mel" in second.stderr
    steps = [
        entry["step"]
        for entry in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
        if entry["kind"] == "train"
    ]
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("share", "says"), [("0.5", "an autoencoder, still warming up"), ("0", "the model so far, not validated yet")]
)
def test_a_run_ended_before_validation_says_what_it_leaves(config: Path, share: str, says: str) -> None:
    settings = ["training.steps=100000", f"training.bottleneck_warmup.share={share}", "training.validate_every=100000"]
    run = subprocess.Popen(
        [sys.executable, str(ROOT / "recipes" / "train.py"), "--config", str(config), *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    metrics = config.parent / "run" / "metrics.jsonl"
    while run.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.05)
    run.terminate()
    said, _ = run.communicate(timeout=100)
    assert run.returncode == 0
    assert f"last: {says}; " in said
    assert (config.parent / "run" / "last" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["training.stepz=3"], "unknown setting training.stepz; did you mean training.steps?"),
        (["training.steps=many"], "training.steps='many': input should be a valid integer"),
        (["data.train=[nowhere.jsonl]"], "nowhere.jsonl: cannot read the manifest"),
        (["output=/dev/null/run"], "/dev/null/run"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(config: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    result = train("--config", str(config), *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not (tmp_path / "run").exists()


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    result = train("--config", str(tmp_path / "none.yaml"))
    assert result.returncode == 2
    assert "none.yaml: cannot read the settings" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_page_tunes_the_model_that_ships_by_its_own_sizes() -> None:
    """And the default settings, which do not fit it, are answered with the file that does."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [line for line in page.splitlines() if "train.py" in line and "init_from=simvq" in line]
    words = shlex.split(line.split("recipes/train.py")[1])
    name, overrides = words[words.index("--config") + 1], words[words.index("--config") + 2 :]
    settings = load_run_config(ROOT / name, overrides)
    assert settings.init_from is not None and str(settings.output) == "exp/interviews"
    folder = bundled.bundled_models()[settings.init_from].folder
    assert settings.model == build(ModelConfig, json.loads((folder / "config.json").read_text()))
    assert settings.training.bottleneck_warmup.share == 0
    with pytest.raises(CodecError, match=rf"--config \S*{name} has its sizes"):
        tiny = load_run_config(ROOT / "egs/mini/conf/tiny.yaml", overrides)
        start_from(Codec(tiny.model), tiny, settings.init_from)
