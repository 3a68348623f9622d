"""The report is made from what training, evaluation and the command line write, and stands alone."""

from __future__ import annotations

import base64
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile
import torch

from codec import Codec, audio, bitstream
from codec.cli import run
from codec.config import RunConfig, build, dump_yaml
from codec.evaluation import MetricOptions, ModelSystem, build_metrics, evaluate, summarize, write_report
from codec.evaluation.systems import Resampling
from codec.evaluation.unavailable import write_unavailable
from codec.manifest import Utterance, write_manifest
from codec.releasing import Released

ROOT = Path(__file__).parents[2]
MINI = ROOT / "egs" / "mini"
RATE = 16_000
SMALL = {
    "sample_rate": RATE,
    "encoder": {"channels": 2, "strides": [4, 4], "latent_dim": 8, "lstm_layers": 0},
    "quantizer": {"codebook_size": 64},
    "decoder": {"dim": 32, "hidden_dim": 32, "layers": 1, "group_norm_groups": 4, "n_fft": 64},
}


class Page(HTMLParser):
    """Collects what a page refers to and says, and refuses tags that do not match."""

    VOID = ("meta", "img", "line", "polyline", "circle")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves, at the smallest size: two recordings, of which one was encoded and decoded.

    Beside it two other codecs: one that is there (in truth a resampler), and one that is not installed.
    """
    exp = tmp_path_factory.mktemp("exp")
    utterances = []
    for number, text in enumerate(("Fish & <chips>.", None)):
        path = exp / "corpus" / f"{number}.flac"
        audio.write(path, 0.3 * torch.randn(RATE, generator=torch.Generator().manual_seed(number)), RATE)
        utterances.append(Utterance(f"{number}", path, RATE, RATE, f"reader {number}", "test", text))
    write_manifest(exp / "data" / "test.jsonl", utterances)
    (exp / "SOURCES.csv").write_text("file,repository,licence\ntest/0.flac,someone/something,CC-BY-4.0 (LibriTTS)\n")

    config = build(RunConfig, {"model": SMALL, "data": {"train": [str(exp / "data" / "test.jsonl")], "batch_size": 4}})
    (exp / "run").mkdir()
    (exp / "run" / "config.yaml").write_text(dump_yaml(config))
    folders = {"trained": exp / "run" / "best", "untrained": exp / "untrained"}
    for seed, (name, folder) in enumerate(folders.items()):
        torch.manual_seed(seed)
        codec = Codec(config.model)
        codec.save_pretrained(folder)
        waveform = audio.load(utterances[0].path, RATE)
        tokens = codec.eval().encode(waveform)
        header = bitstream.Header(codec.token_fingerprint, RATE, codec.hop_length, codec.codebook_size, RATE)
        bitstream.write_tokens(exp / "audio" / name / "0.svq", header, tokens.tokens[0].numpy())
        audio.write(exp / "audio" / name / "0.wav", codec.decode(tokens)[0, 0], RATE)
        system = ModelSystem(folder, "cpu")
        outcome = evaluate(system, utterances, build_metrics(["mel"], MetricOptions(RATE)), exp / "scores" / name)
        write_report(exp / "scores" / name, summarize(system, outcome, "test"))

    metrics = build_metrics(["mel"], MetricOptions(RATE))
    peer, folder = Resampling(8000, RATE), exp / "peers" / "resample-8000"
    write_report(folder, summarize(peer, evaluate(peer, utterances, metrics, folder, save_audio=True), "test"))
    write_unavailable(exp / "peers" / "opus-6", "opus:6", "the program opusenc is not installed")

    lines = [
        {"step": 50, "kind": "train", "loss/mel": 2.5, "lr": 1e-3, "audio_s_per_s": 12.0, "time_s": 20.0},
        {"step": 60, "kind": "switch", "codes": 60},
        {"step": 100, "kind": "train", "loss/mel": 1.5, "loss/commitment": 0.2, "codes_used": 40, "time_s": 150.0},
        {"step": 100, "kind": "validation", "loss/mel": 1.7, "perplexity": 33.0},
    ]
    torn = '{"step": 150, "kind": "tra'
    (exp / "run" / "metrics.jsonl").write_text("\n".join([*map(json.dumps, lines), torn]))
    return exp


def arguments(exp: Path, **changed: Path) -> list[str]:
    options = {
        "run": exp / "run",
        "audio": exp / "audio",
        "manifest": exp / "data" / "test.jsonl",
        "sources": exp / "SOURCES.csv",
        "output": exp / "report.html",
    }
    given = ["--evaluations", str(exp / "scores" / "trained"), str(exp / "scores" / "untrained")]
    given += [part for name in ("resample-8000", "opus-6") for part in ("--peer", str(exp / "peers" / name))]
    return given + [part for name, path in {**options, **changed}.items() for part in (f"--{name}", str(path))]


@pytest.fixture(scope="module")
def page(exp: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    result = subprocess.run(
        [sys.executable, str(MINI / "report.py"), *arguments(exp)],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    return Page((exp / "report.html").read_text(encoding="utf-8"))


def test_nothing_is_fetched_from_anywhere(page: Page, exp: Path) -> None:
    fetched = [link for link in page.links if not link.startswith(("data:", "https://creativecommons.org/"))]
    assert fetched == []
    assert not re.search(r"@import|url\(|<script|<link|<iframe", (exp / "report.html").read_text(encoding="utf-8"))


def test_the_sounds_are_the_recording_and_what_each_model_made_of_it(page: Page, exp: Path) -> None:
    sounds = [link.partition(",")[2] for link in page.links if link.startswith("data:audio/flac;base64,")]
    files = [exp / "corpus" / "0.flac", exp / "audio" / "trained" / "0.wav", exp / "audio" / "untrained" / "0.wav"]
    files.append(exp / "peers" / "resample-8000" / "audio" / "0.wav")
    assert len(sounds) == 4  # the second recording was not decoded and is not shown
    for sound, file in zip(sounds, files, strict=True):
        (exp / "sound.flac").write_bytes(base64.b64decode(sound))
        heard, rate = soundfile.read(exp / "sound.flac", dtype="int16")
        expected, _ = soundfile.read(file, dtype="int16")
        assert rate == RATE and abs(heard.astype(int) - expected).max() <= 1
    pictures = [link for link in page.links if link.startswith("data:image/png;base64,iVBOR")]
    assert len(pictures) == 4 == len(set(pictures))


def test_what_is_said_is_what_was_measured(page: Page, exp: Path) -> None:
    summaries = [json.loads((exp / "scores" / name / "summary.json").read_text()) for name in ("trained", "untrained")]
    for summary in summaries:
        assert f"{summary['metrics']['mel_distance']['mean']:.3f} 2 ok, 0 failed" in page.text
        assert f"{summary['rate']['perplexity']:.1f}" in page.text
    size = (exp / "audio" / "trained" / "0.svq").stat().st_size
    assert f"tokens 1,000 file {size:,} bytes" in page.text
    assert f"16-bit samples {2 * RATE:,} bytes" in page.text
    parameters = sum(p.numel() for p in Codec.from_pretrained(exp / "run" / "best").parameters() if p.requires_grad)
    assert f"trainable parameters {parameters / 1e6:.2f} M" in page.text
    assert "training 2.5 min 100 steps" in page.text  # 150 s
    assert "audio seen 6.7 min in crops of 2 s" in page.text  # 100 steps of 4 crops of 1 s
    assert "rate 6,000 bit/s 1000 tokens a second" in page.text  # 6 bits a token


def test_others_stand_beside_ours_and_what_is_missing_is_said(page: Page, exp: Path) -> None:
    peer = json.loads((exp / "peers" / "resample-8000" / "summary.json").read_text())
    assert f"{peer['metrics']['mel_distance']['mean']:.3f} 2 ok, 0 failed" in page.text
    assert "Opus, 6 kbit/s is not here: the program opusenc is not installed." in page.text


def test_the_shipped_model_alone(exp: Path, shipped: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(exp / "audio" / "trained", tmp_path / "audio" / "shipped")  # any sounds do
    monkeypatch.syspath_prepend(str(MINI))
    options = ["--shipped", exp / "scores" / "trained", "--audio", tmp_path / "audio", "-o", tmp_path / "page.html"]
    options += ["--manifest", exp / "data" / "test.jsonl", "--sources", exp / "SOURCES.csv"]
    with pytest.raises(SystemExit) as ended:
        run(importlib.import_module("report").app, [*map(str, options)])
    assert ended.value.code == 0
    text = Page((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "simvq-24khz-0.9kbps" in text and "450 bit/s" in text and "Shipped model" in text
    assert f"weights {shipped.num_bytes / 1e6:.1f} MB in half precision" in text
    assert "Training" not in text and "Untrained" not in text


def test_text_is_escaped_and_licences_are_named(page: Page) -> None:
    assert "“Fish & <chips>.”" in page.text
    assert "LibriTTS, Zen et al. 2019 CC-BY-4.0" in page.text
    assert "https://creativecommons.org/licenses/by/4.0/" in page.links


def test_curves_of_both_kinds_and_the_switch_are_drawn(exp: Path, page: Page) -> None:
    text = (exp / "report.html").read_text(encoding="utf-8")
    mel = text[text.index('aria-label="Log-mel loss"') :]
    mel = mel[: mel.index("</svg>")]
    assert mel.count("<polyline") == 2 and "codebook in use" in mel
    assert "nothing logged" in text  # this run had no discriminators


@pytest.mark.parametrize(
    ("option", "path", "message"),
    [
        ("run", "none", "config.yaml: cannot read the settings"),
        ("audio", "empty", "no recording decoded by all of our models"),
        ("manifest", "none.jsonl", "cannot read the manifest"),
        ("sources", "none.csv", "give --sources"),
        ("output", "empty", "is a folder"),
    ],
)
def test_a_wrong_input_gives_one_line_and_exit_code_2(
    exp: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    path: str,
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.syspath_prepend(str(MINI))
    app = importlib.import_module("report").app
    with pytest.raises(SystemExit) as ended:
        run(app, arguments(exp, **{"output": tmp_path / "report.html", option: tmp_path / path}))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["empty"]
