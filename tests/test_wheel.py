"""What is installed from a wheel encodes and decodes, off line and without a further argument.

The wheel is unpacked and put first on the path of a process of its own, far from the checkout. Installing it into an
empty environment instead takes minutes: ``egs/pretrained/wheel.sh``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile

from codec import bundled
from codec.releasing import Released

ROOT = Path(__file__).parents[1]
CALL = "import codec.cli, sys; print(codec.__file__, file=sys.stderr); codec.cli.main()"


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An unpacked wheel, of a copy of the checkout; where no model ships yet, with a tiny one in its place."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "codec", copy / "codec", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    if not bundled.bundled_models():
        shipped: Released = request.getfixturevalue("shipped")
        shutil.copytree(shipped.folder.parent, copy / "codec" / "bundled", dirs_exist_ok=True)
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(tmp_path)!r}))"
    built = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, timeout=280)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(tmp_path / built.stdout.splitlines()[-1]) as wheel:
        wheel.extractall(tmp_path / "site")
    shutil.rmtree(copy)
    return tmp_path / "site"


def test_a_wheel_has_all_it_needs(site: Path, speech_path: Path, tmp_path: Path) -> None:
    folder = site / "codec" / "bundled"
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))["models"]
    for model in index.values():
        for line in (folder / model["folder"] / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
            assert (folder / model["folder"] / line.split()[1]).is_file(), line
    (tmp_path / "away").mkdir()
    samples, rate = soundfile.read(speech_path, frames=24_000)
    soundfile.write(tmp_path / "away" / "x.wav", samples, rate)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CODEC")}
    environment |= {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path / "away")}
    for arguments in (["encode", "x.wav"], ["decode", "x.svq"]):
        done = subprocess.run(
            [sys.executable, "-c", CALL, *arguments],
            cwd=tmp_path / "away",
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[0].startswith(str(site)), "the wheel's package, not the checkout's"
    assert soundfile.info(tmp_path / "away" / "x.decoded.wav").frames == 24_000
