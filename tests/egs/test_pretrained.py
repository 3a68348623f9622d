"""Scripts about the model that ships: the fit of its curve, its table's manifest, the codes that it uses."""

from __future__ import annotations

import importlib
import json
import math
import re
from pathlib import Path

import pytest
from tiny import CORPUS

from codec import Codec, audio
from codec.cli import run
from codec.manifest import Utterance, read_manifest, write_manifest

SCRIPTS = Path(__file__).parents[2] / "egs" / "pretrained"


def call(name: str, *arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run(importlib.import_module(name).app, [*map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    paths = sorted(CORPUS.glob("dev-mini/**/*.flac"))[:2]
    infos = [audio.info(path) for path in paths]
    utterances = [Utterance(p.stem, p, i.num_samples, i.sample_rate) for p, i in zip(paths, infos, strict=True)]
    write_manifest(tmp_path / "dev.jsonl", utterances)
    return tmp_path / "dev.jsonl"


@pytest.mark.parametrize(("a", "b", "c"), [(2.2, 1.1, 0.45), (0.9, -0.6, 0.3)])  # PESQ rises, a mel distance falls
def test_the_fit_finds_a_power_law_again(a: float, b: float, c: float) -> None:
    fit_power_law = importlib.import_module("curve").fit_power_law
    fit = fit_power_law([(hours, a - b * hours**-c) for hours in (0.5, 1.0, 3.0, 9.0, 20.0)])
    assert (fit.a, fit.b, fit.c) == (pytest.approx(a, abs=1e-6), pytest.approx(b, abs=1e-6), pytest.approx(c))
    assert fit.at(100.0) == pytest.approx(a - b * 100.0**-c)
    assert fit.rms < 1e-9


def test_a_fit_ends_where_a_score_can_end() -> None:
    """Scores that grow with the logarithm have no end: the best power law would end anywhere."""
    fit_power_law = importlib.import_module("curve").fit_power_law
    points = [(hours, 1.0 + 0.2 * math.log(hours)) for hours in (4.0, 9.0, 13.0, 27.0)]
    assert fit_power_law(points).a > 10
    fit = fit_power_law(points, 4.64)
    assert 1.7 < fit.a <= 4.64 and fit.rms < 0.01
    low, high = fit.range_at(300.0)
    assert low <= fit.at(300.0) <= high < 4.64
    assert fit_power_law(points, 1.5) is None  # the points themselves are beyond


def test_models_of_a_run_are_scored_and_fitted(
    tiny_run: Path, tiny_codec: Codec, manifest: Path, tmp_path: Path
) -> None:
    folders = []
    for step in (450, 900, 1800, 3600):
        tiny_codec.decoder.head.out.bias.data += 0.01
        tiny_codec.save_pretrained(tmp_path / f"step_{step}")
        (tmp_path / f"step_{step}" / "training.json").write_text(json.dumps({"step": step}))
        folders.append(tmp_path / f"step_{step}")
    output = tmp_path / "out"
    options = ["--run", tiny_run, "--manifest", manifest, "--metrics", "mel", "--at", "100", "-o", output]
    assert call("curve", *options, *folders) == 0
    text = (output / "curve.md").read_text()
    for hours in ("1.00", "2.00", "4.00", "8.00"):  # 450 steps of 4 crops of 2 s are one hour
        mean = json.loads((output / f"step_{int(float(hours) * 450)}" / "summary.json").read_text())
        assert f"| {hours} | {mean['metrics']['mel_distance']['mean']:.3f} |" in text
    assert "4 points" in text
    assert "<polyline" in (output / "curve.html").read_text()


def test_what_a_second_stage_heard_counts_from_the_first(
    tiny_run: Path, tiny_codec: Codec, manifest: Path, tmp_path: Path
) -> None:
    def model(folder: Path, step: int) -> Path:
        tiny_codec.save_pretrained(folder)
        (folder / "training.json").write_text(json.dumps({"step": step}))
        return folder

    first = model(tiny_run / "milestones" / "step_900", 900)
    second = tmp_path / "second"
    start = model(tiny_run / "best", 1800)
    settings = (tiny_run / "config.yaml").read_text().replace("init_from: null", f"init_from: {start}")
    assert str(start) in settings
    second.mkdir()
    (second / "config.yaml").write_text(settings)
    last = model(second / "last", 450)
    output = tmp_path / "out"
    options = ["--run", tiny_run, "--manifest", manifest, "--metrics", "mel", "-o", output]
    assert call("curve", *options, first, last) == 0
    hours = [line.split("|")[1].strip() for line in (output / "curve.md").read_text().splitlines()[2:4]]
    assert hours == ["2.00", "5.00"]  # 450 steps are one hour
    assert (output / "second_step_450" / "summary.json").is_file()


def test_the_table_says_how_far_fits_agree() -> None:
    curve = importlib.import_module("curve")
    points = [(1.0, 1.2), (2.0, 1.33), (4.0, 1.44), (8.0, 1.5)]
    text = curve.table([curve.Scores("PESQ-WB", points), curve.Scores("STOI", points)], [100.0])
    assert re.search(r"PESQ-WB: .*By the fit: 1\.\d+ \(1\.\d+ to 1\.\d+\) at 100 h", text)
    assert "STOI: 4 points, no power law with a possible end fits" in text


def test_the_log_alone_from_where_the_codebook_came_in(tiny_run: Path, tmp_path: Path) -> None:
    lines = [
        {"step": 450, "kind": "validation", "loss/mel": 0.5},
        {"step": 500, "kind": "switch"},
        {"step": 900, "kind": "validation", "loss/mel": 0.9},
    ]
    (tiny_run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 95')
    assert call("curve", "--run", tiny_run, "-o", tmp_path / "out") == 0
    text = (tmp_path / "out" / "curve.md").read_text()
    assert "| 2.00 | 0.900 |" in text and "0.500" not in text and "too few for a fit" in text


def test_codes_are_counted_together(tiny_model_dir: Path, tiny_codec: Codec, manifest: Path, tmp_path: Path) -> None:
    assert call("codes_used", manifest, manifest, "--model", tiny_model_dir, "-o", tmp_path / "codes.json") == 0
    one, again, together = json.loads((tmp_path / "codes.json").read_text())["results"]
    used = {
        token
        for utterance in read_manifest(manifest)
        for token in tiny_codec.encode(audio.load(utterance.path, 24_000)).tokens[0].tolist()
    }
    assert one["codes_used"] == again["codes_used"] == together["codes_used"] == len(used)
    assert together["tokens"] == 2 * one["tokens"]


def test_short_clips_are_left_out_of_the_table(tmp_path: Path, speech_path: Path) -> None:
    (tmp_path / "test").mkdir()
    speech = audio.load(speech_path, 24_000)
    for name, seconds in (("long", 1.1), ("short", 1.0)):
        audio.write(tmp_path / "test" / f"{name}.flac", speech[: round(24_000 * seconds)], 24_000)
    (tmp_path / "test.csv").write_text("id,path,speaker\nlong,test/long.flac,s1\nshort,test/short.flac,s2\n")
    assert call("test_set", tmp_path, "-o", tmp_path / "out.jsonl") == 0
    (utterance,) = read_manifest(tmp_path / "out.jsonl")
    assert (utterance.id, utterance.speaker, utterance.duration_s) == ("long", "s1", 1.1)


TINY = [
    "model.encoder.channels=2", "model.encoder.latent_dim=8", "model.quantizer.codebook_size=16",
    "model.decoder.dim=64", "model.decoder.hidden_dim=16", "model.decoder.layers=1", "data.batch_size=2",
    "data.crop_s=0.5", "data.workers=0", "data.validation_crops=2", "training.ema_decay=0.5",
]  # fmt: skip


def test_the_ladder_trains_for_a_time_and_says_what_came_of_it(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SCRIPTS.parents[1])
    settings = [*TINY, f"data.train=[{manifest}]", f"data.validation=[{manifest}]"]
    options = ["-o", tmp_path / "ladder", "--minutes", 0.02, *(word for s in settings for word in ("--set", s))]
    assert call("ladder", "--table", *options) == 2
    assert "no row is done" in capsys.readouterr().err
    assert call("ladder", "--rows", "ship", *options) == 2
    assert "--rows: ship: not in" in capsys.readouterr().err
    page = tmp_path / "page.md"
    page.write_text("No marks.")
    assert call("ladder", "--rows", "shipped", "--write", page, *options) == 2  # before anything is trained
    assert not (tmp_path / "ladder").exists()
    assert call("ladder", "--rows", "shipped,adam", *options) == 0
    table = capsys.readouterr().out
    facts = {name: json.loads((tmp_path / "ladder" / name / "ladder.json").read_text()) for name in ("shipped", "adam")}
    for found in facts.values():
        assert found["steps"] >= 1 and found["audio_s"] == found["steps"] * 2 * 0.5 and 0 < found["mel"] < 20
        assert f"| {found['steps']} | {found['audio_s'] / 60:.0f} min | {found['mel']:.3f} |" in table
    assert "After 0.02 minutes each" in table
    assert call("ladder", "--rows", "shipped", *options) == 0  # done: left
    assert json.loads((tmp_path / "ladder" / "shipped" / "ladder.json").read_text()) == facts["shipped"]
    (tmp_path / "ladder" / "adam" / "ladder.json").write_text(json.dumps({**facts["adam"], "minutes": 3.0}))
    assert call("ladder", "--table", *options) == 2
    assert "must have the same" in capsys.readouterr().err


def test_every_rung_changes_settings_that_exist() -> None:
    ladder = importlib.import_module("ladder")
    root = SCRIPTS.parents[1]
    rungs = [
        ladder.build(ladder.Rung, item, "rows") for item in ladder.yaml.safe_load((root / ladder.ROWS).read_text())
    ]
    assert len({rung.name for rung in rungs}) == len(rungs) >= 4
    for rung in rungs:
        config = ladder.load_run_config(root / ladder.BASE, [*ladder.ENDLESS, *rung.set])
        assert config.model.hop_length == 320
