from __future__ import annotations

import re
from pathlib import Path

import pytest

from codec.config import (
    JukeboxConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    VQConfig,
    build,
    dump_yaml,
    load_run_config,
    preset,
)
from codec.config.base import Settings
from codec.config.lm import LMConfig
from codec.config.quantizers import SYSTEMS
from codec.errors import CodecError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_the_published_model_and_objective(tmp_path: Path) -> None:
    config = load_run_config(write(tmp_path / "empty.yaml", ""))
    assert config == RunConfig()
    assert config.model.hop_length == 320
    assert config.model.encoder.strides == (2, 4, 5, 8)
    assert (config.losses.mel, config.losses.commitment) == (45, 1000)
    assert preset("reference") == ModelConfig()


def test_layers_override_each_other_in_order(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "training: {steps: 10, seed: 1}\nmodel: {preset: tiny}\n")
    child = write(tmp_path / "child.yaml", "base: base.yaml\ntraining: {steps: 20}\n")
    config = load_run_config(child, ["training.steps=30", "model.quantizer.codebook_size=64", "losses.mel=15"])
    assert (config.training.steps, config.training.seed) == (30, 1)
    assert config.model.decoder == preset("tiny").decoder
    assert config.model.quantizer.codebook_size == 64
    assert config.losses.mel == 15.0


@pytest.mark.parametrize("config", [RunConfig, LMConfig])
def test_seeds_end_where_those_of_numpy_do(config: type[Settings]) -> None:
    """A larger one was a traceback once training began; the number of each process is added."""
    assert build(config, {"training": {"seed": 4_000_000_000}}).model_dump()["training"]["seed"] == 4_000_000_000
    for seed in (-1, 1 << 32):
        with pytest.raises(CodecError, match=rf"training\.seed={seed}: "):
            build(config, {"training": {"seed": seed}})


@pytest.mark.parametrize("written", ["3e-4", "3E-4", "3.0e-4", "0.0003", ".3e-3", "30e-5"])
def test_rates_may_be_written_as_people_write_them(tmp_path: Path, written: str) -> None:
    path = write(tmp_path / "a.yaml", f"optimizer: {{lr: {written}}}")
    assert load_run_config(path, [f"optimizer.discriminator_lr={written}"]).optimizer == OptimizerConfig(
        lr=3e-4, discriminator_lr=3e-4
    )


def test_no_is_a_word_and_false_is_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "training: {mixed_precision: no, compile: true}")
    assert load_run_config(path).training.mixed_precision == "no"
    training = load_run_config(path, ["training.mixed_precision=no", "training.compile=False"]).training
    assert (training.mixed_precision, training.compile) == ("no", False)


def test_a_last_stage_of_an_earlier_run_is_read(tmp_path: Path) -> None:
    """Which has the mel weight itself."""
    earlier = write(tmp_path / "a.yaml", "losses: {mel: 15.0}\ntraining: {last_stage: {share: 0.2, mel: 150.0}}")
    last = load_run_config(earlier).training.last_stage
    assert (last.share, last.mel_factor) == (0.2, 10.0)
    published = load_run_config(write(tmp_path / "b.yaml", "training: {last_stage: {mel: 450.0}}"))
    assert published.training.last_stage.mel_factor == 10.0
    with pytest.raises(CodecError, match=r"unknown setting training\.last_stage\.mel"):
        load_run_config(write(tmp_path / "c.yaml", "training: {last_stage: {mel: 450.0, mel_factor: 10.0}}"))


def test_written_settings_read_back_the_same(tmp_path: Path) -> None:
    config = load_run_config(write(tmp_path / "a.yaml", "model: {preset: tiny}\ndata: {gain_db: [-6, -1]}"))
    assert load_run_config(write(tmp_path / "b.yaml", dump_yaml(config))) == config


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_another_bottleneck_takes_the_place_of_a_written_one(tmp_path: Path, name: str) -> None:
    """As with the config.yaml of a model that is there, which says every setting of its own."""
    plain = write(tmp_path / "plain.yaml", "training: {steps: 7}")
    written = write(tmp_path / "written.yaml", dump_yaml(load_run_config(plain)))
    child = write(tmp_path / "child.yaml", f"base: written.yaml\nmodel: {{quantizer: {{name: {name}}}}}")
    expected = load_run_config(plain, [f"model.quantizer.name={name}"])
    assert load_run_config(written, [f"model.quantizer.name={name}"]) == expected == load_run_config(child)
    again = write(tmp_path / "again.yaml", dump_yaml(expected))
    assert load_run_config(again, ["model.quantizer.name=simvq"]) == load_run_config(plain)


def test_what_was_chosen_for_a_bottleneck_stays_where_the_next_one_knows_it(tmp_path: Path) -> None:
    chosen = "model: {quantizer: {name: fsq, levels: [8, 5], codebook_size: 40, commitment: 0.5}}"
    path = write(tmp_path / "a.yaml", chosen)
    quantizer = load_run_config(path, ["model.quantizer.name=vq"]).model.quantizer
    assert quantizer == VQConfig(codebook_size=40, commitment=0.5)
    for overrides in (["commitment=0.25", "name=jukebox"], ["name=jukebox", "commitment=0.25"]):  # whatever the order
        config = load_run_config(path, [f"model.quantizer.{item}" for item in overrides])
        assert config.model.quantizer == JukeboxConfig(codebook_size=40, commitment=0.25)
    with pytest.raises(CodecError, match=r"unknown setting model\.quantizer\.levelz"):
        load_run_config(write(tmp_path / "b.yaml", chosen.replace("levels", "levelz")), ["model.quantizer.name=vq"])


@pytest.mark.parametrize(
    ("yaml", "overrides", "says"),
    [
        ("training: {stepz: 3}", [], "unknown setting training.stepz; did you mean training.steps?"),
        ("trainin: {steps: 3}", [], "unknown setting trainin; did you mean training?"),
        ("model: {encoder: {qwertz: 1}}", [], "unknown setting model.encoder.qwertz; known here: channels"),
        ("training: {steps: many}", [], "training.steps='many': input should be a valid integer"),
        ("training: {steps: 2.5}", [], "training.steps=2.5: input should be a valid integer"),
        ("training: {steps: true}", [], "training.steps=True: input should be a valid integer"),
        ("training: {steps: -1}", [], "training.steps=-1: input should be greater than 0"),
        ("training: {mixed_precision: fp16}", [], "training.mixed_precision='fp16': input should be 'no' or 'bf16'"),
        ("optimizer: {lr: .nan}", [], "optimizer.lr"),
        ("training: 7", [], "training=7"),
        ("[1, 2]", [], "expected a mapping"),
        ("a: [", [], "not a YAML file"),
        ("model: {preset: huge}", [], "model.preset='huge' is not known; presets are reference, tiny"),
        ("model: {preset: [tiny]}", [], "model.preset=['tiny'] is not known"),
        ("model: {encoder: {channels: 1}}", [], "encoder.channels=1 must be at least encoder.compress=2"),
        ("discriminators: {resolutions: [[256, 64, 512]]}", [], "a window of 512 is longer than its n_fft of 256"),
        ("data: {gain_db: [-1, -6]}", [], "data.gain_db=[-1.0, -6.0]: expected the lower one first"),
        ("data: {speed: [1.1, 0.9]}", [], "data.speed=[1.1, 0.9]: expected the lower one first"),
        ("data: {speed: [0.93, 1]}", [], "data.speed=[0.93, 1.0]: expected multiples of 0.05"),
        ("data: {crop_s: 0.04}", [], "data.crop_s=0.04 is too short for an n_fft of 2048; try 0.09 or more"),
        ("data: {validation_crop_s: 0.02}", [], "data.validation_crop_s=0.02 is too short for an n_fft of 1024"),
        ("base: nowhere.yaml", [], "nowhere.yaml: cannot read the settings (No such file or directory)"),
        ("base: x.yaml", [], "form a circle"),
        ("model: {decoder: {n_fft: 1000}}", [], "decoder.n_fft=1000 must be a multiple of the hop 320"),
        ("training: {log_every: 30, validate_every: 100}", [], "validate_every=100 must be a multiple of log_every=30"),
        ("", ["training.steps"], "override 'training.steps': expected section.key=value"),
        ("", ["training..steps=1"], "expected section.key=value"),
        ("", ["training.steps=[1"], "is not a YAML value"),
        ("", ["training.stepz=1"], "did you mean training.steps?"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, yaml: str, overrides: list[str], says: str) -> None:
    path = write(tmp_path / "x.yaml", yaml)
    with pytest.raises(CodecError) as error:
        load_run_config(path, overrides)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"none\.yaml: cannot read the settings .* give an existing YAML file"):
        load_run_config(tmp_path / "none.yaml")


RECIPES = [
    path
    for path in sorted(Path(__file__).parents[1].glob("egs/*/conf/**/*.yaml"))
    if path.name not in ("rows.yaml", "ladder.yaml") and "collapse" not in path.parts
]  # rows and ladder: overrides; collapse: bottlenecks alone. They have their own tests


@pytest.mark.parametrize("path", [path for path in RECIPES if "study" not in path.parts], ids=str)
def test_every_recipe_states_its_budget(path: Path) -> None:
    config = load_run_config(path)
    steps, crops, crop_s = config.training.steps, config.data.batch_size, config.data.crop_s
    hours = steps * crops * crop_s / 3600
    amount = f"{hours:,.0f}" if hours >= 10 else f"{hours:.2f}"
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert f"# Budget: {amount} hours of audio, {steps:,} steps of {crops} crops of {crop_s:g} s." in comments


@pytest.mark.parametrize("path", [path for path in RECIPES if "libritts" in path.parts], ids=str)
def test_every_recipe_of_the_paper_says_how_its_step_is_timed(path: Path) -> None:
    """Its step time and GPU-hours, or that they are not measured yet; and the command."""
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^# Step time and GPU-hours: (not measured yet|[\d.]+ s, [\d,]+ h of )", text, re.MULTILINE)
    name = path.relative_to(Path(__file__).parents[1])
    crop_s = load_run_config(path).data.crop_s
    assert f"#   python benchmarks/train_step.py --config {name} --batch 32 --crop-s {crop_s:g}\n" in text


def test_the_better_recipe_is_the_reference_with_parts_switched_on() -> None:
    """Equal audio; every part off in one and on in the other; sizes of the network the same."""
    conf = Path(__file__).parents[1] / "egs" / "libritts" / "conf"
    reference, better = (load_run_config(conf / name / "simvq_65k.yaml") for name in ("reference", "better"))

    def parts(config: RunConfig) -> dict[str, bool]:
        return {
            "long crops": config.data.crop_s == 3,
            "random gain": config.data.gain_db != (0, 0),
            "autoencoder warm-up": config.training.bottleneck_warmup.share > 0,
            "encoder that starts alive": config.model.encoder.init_gain is not None,
            "latents of length 1": config.model.encoder.unit_norm,
            "rate of its own for W": config.optimizer.quantizer_lr is not None,
            "annealing": config.optimizer.schedule == "cosine" and config.optimizer.warmup_steps > 0,
            "dynamic STE": config.model.quantizer.ste == "dynamic",
            "region loss": config.model.quantizer.region is not None,
            "several mel scales": len(config.losses.mel_scales) > 1,
            "one period family": not config.discriminators.dac_periods,
            "Muon": config.optimizer.name == "muon",
            "last stage": config.training.last_stage.share > 0,
        }

    assert not any(parts(reference).values())
    assert all(parts(better).values())
    for config in (reference, better):
        assert config.training.steps * config.data.batch_size * config.data.crop_s == 138_600 * 128
        assert config.model.decoder == RunConfig().model.decoder
    large = load_run_config(conf / "better" / "simvq_4k_large.yaml").model
    assert large.encoder.transformer.layers == 8 and large.decoder.dim > reference.model.decoder.dim


@pytest.mark.parametrize("path", RECIPES, ids=str)
def test_every_recipe_that_ships_is_valid(path: Path) -> None:
    config = load_run_config(path)
    assert config.model.hop_length == 320 or path.parent.name == "rates"
    if "reference" in path.parts and path.stem != "base":
        defaults = RunConfig()
        assert config.losses == defaults.losses
        assert config.optimizer == defaults.optimizer
        assert config.discriminators == defaults.discriminators
        sizes = {
            "vq_4k": 4096,
            "ema_4k": 4096,
            "simvq_4k": 4096,
            "simvq_8k": 8192,
            "simvq_65k": 65_536,
            "simvq_262k": 262_144,
        }
        assert config.model.quantizer.codebook_size == sizes[path.stem]
