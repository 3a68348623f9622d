"""What the README shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import codec.audio as audio_io
from codec.config import load_run_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_five_lines_of_python(tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code.splitlines()) == 5
    recording = re.search(r"egs/mini/corpus/\S+\.flac", code)
    assert recording is not None
    code = code.replace("simvq-24khz-0.9kbps", str(tiny_model_dir)).replace(recording[0], str(ROOT / recording[0]))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    back, original = audio_io.info(tmp_path / "back.wav"), audio_io.info(ROOT / recording[0])
    assert (back.num_samples, back.sample_rate) == (original.num_samples, 24_000)


def test_named_files_and_settings_exist() -> None:
    for link in re.findall(r"\]\(((?:docs|egs|tests)/[^)]+)\)", README):
        assert (ROOT / link).is_file(), link
    commands = re.findall(r"(?:recipes|egs)/[\w/.-]+\.(?:py|yaml|sh)", README)
    assert len(commands) >= 5
    for path in commands:
        assert (ROOT / path).is_file(), path
    overrides = re.findall(r"(?:training\.\w+|output)=\S+", README)
    assert overrides
    load_run_config(ROOT / "egs/mini/conf/tiny.yaml", overrides)
