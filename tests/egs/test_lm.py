"""egs/lm: settings that ship are valid, mistakes on the command line are said, the document's Python runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import torch

from codec import Codec
from codec import audio as audio_io
from codec.config import build, load_config
from codec.config.lm import LMConfig, LMModelConfig
from codec.lm.network import build_language_model
from codec.tokenstore import Model

ROOT = Path(__file__).parents[2]
SETTINGS = sorted((ROOT / "egs" / "lm").glob("*.yaml"))
DOCUMENT = (ROOT / "docs" / "language_models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.name)
def test_settings_are_valid(path: Path) -> None:
    load_config(LMConfig, path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stage", "9"], "error: stage '9'"),
        (["--systems", "fsq"], "error: system 'fsq'"),
        (["--systems"], "error: no systems"),
        (["--what"], "error: unknown option --what"),
    ],
)
def test_mistakes_are_said_before_anything_runs(arguments: list[str], says: str) -> None:
    done = subprocess.run([ROOT / "egs" / "lm" / "run.sh", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(says)
    assert done.stdout == ""


def test_the_documents_python_runs(
    tiny_codec: Codec, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    facts = Model("tiny", tiny_codec.token_fingerprint, tiny_codec.codebook_size, 24_000, 320)
    sizes = build(LMModelConfig, {"context": 256, "layers": 1, "dim": 16, "heads": 2, "mlp_dim": 16})
    torch.manual_seed(0)
    build_language_model(sizes, facts).save_pretrained(tmp_path / "lm")
    for name, folder in (("exp/lm/simvq/run/best", tmp_path / "lm"), ("exp/mini/tiny/best", tiny_model_dir)):
        assert name in code
        code = code.replace(name, str(folder))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert 0 < audio_io.info(tmp_path / "spoken.wav").num_samples <= 200 * 320


def test_what_the_document_names_exists() -> None:
    for name in re.findall(r"(?:recipes|egs|tests|codec)/[\w/.-]+\.(?:py|yaml|sh|flac)", DOCUMENT):
        assert (ROOT / name).is_file(), name
    fields = {name: field.annotation for name, field in LMConfig.model_fields.items()}
    for section, key in re.findall(r"`(model|data|optimizer|training)\.(?!json`)(\w+)`", DOCUMENT):
        assert key in fields[section].model_fields, f"{section}.{key}"
