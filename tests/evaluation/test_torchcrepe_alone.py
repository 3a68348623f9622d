from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from doubles import RATE, NoisySystem

from codec.evaluation import MetricOptions, build_metrics, evaluate, summarize, torchcrepe_alone
from codec.manifest import Utterance

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
{before}
from codec.evaluation.pitch import VoicingAndPitch
from codec import audio
speech = audio.load({speech!r}, 16_000)[:16_000]
track = VoicingAndPitch().track(speech)
print(int(track.bins.astype(int).sum()), round(float(track.periodicity.sum()), 4), {after})
"""
WITHOUT = """
class Refuses:
    def find_spec(self, name, *_):
        if name == "torchaudio":
            raise OSError("another release of torch")
sys.meta_path.insert(0, Refuses())
"""


def test_pitch_needs_no_torchaudio(speech_path: Path) -> None:
    """A process in which torchaudio cannot be loaded finds the same pitch, and no torchaudio is left in it."""
    said = []
    for before, after in (("", "''"), (WITHOUT, "'torchaudio' in sys.modules")):
        script = SCRIPT.format(before=before, speech=str(speech_path), after=after)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=200)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    assert said[1] == [*said[0], "False"]


def test_without_torchcrepe_the_rest_is_scored(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchcrepe_alone, "find_spec", lambda name: None)
    torchcrepe_alone.torchcrepe.cache_clear()
    metrics = build_metrics(["f1", "mel"], MetricOptions(RATE))
    summary = summarize(NoisySystem(), evaluate(NoisySystem(), utterances[:2], metrics, tmp_path), "two")
    assert summary["not_available"].keys() == {"f1"}
    assert "pip install -e '.[eval]' in the checkout, or pip install torchcrepe" in summary["not_available"]["f1"]
    assert summary["metrics"]["mel_distance"]["n_ok"] == 2


def test_the_package_imports_torchaudio_nowhere() -> None:
    """It loads beside one release of torch only: importing it would bind users to that one."""
    for path in (ROOT / "codec").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        imports = [line for line in lines if line.strip().startswith(("import torchaudio", "from torchaudio"))]
        assert not imports, path
