from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import requests
import yaml
from huggingface_hub import constants
from huggingface_hub.errors import LocalTokenNotFoundError

from codec import Codec, CodecError
from codec.pretrained import find_model
from codec.sharing import prepare, push
from codec.training.checkpoint import save_model


class Hub:
    """In the place of HfApi: notes what is asked of it, and keeps what is uploaded."""

    calls: list[tuple[str, dict[str, Any]]]
    fails: Exception | None = None

    def create_repo(self, name: str, **options: Any) -> None:
        if Hub.fails:
            raise Hub.fails
        Hub.calls.append(("create_repo", {"name": name, **options}))

    def create_branch(self, name: str, **options: Any) -> None:
        Hub.calls.append(("create_branch", {"name": name, **options}))

    def upload_folder(self, *, folder_path: Path, **options: Any) -> SimpleNamespace:
        names = sorted(path.name for path in Path(folder_path).iterdir())
        Hub.calls.append(("upload_folder", {"names": names, **options}))
        return SimpleNamespace(commit_url="https://hub/commit/1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    Hub.calls, Hub.fails = [], None
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return Hub


def scores_of(codec: Codec, folder: Path) -> Path:
    folder.mkdir()
    value = {"mean": 2.5, "ci95": [2.25, 2.75], "n_ok": 9, "n_failed": 1}
    summary = {
        "system": {"name": "tiny", "identity": f"model {codec.fingerprint}"},
        "test_set": "test-mini",
        "protocol": "ours",
        "utterances": 10,
        "speakers": 5,
        "duration_s": 90.0,
        "metrics": {"pesq_wb": value},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_folder_to_share(tmp_path: Path, tiny_codec: Codec) -> None:
    best = tmp_path / "run" / "best"
    tiny_codec.save_pretrained(best)
    (best / "training.json").write_text('{"step": 900}')  # of a run that was to be longer
    settings = {
        "init_from": "/home/me/exp/first/best",
        "training": {"steps": 8000},
        "data": {"batch_size": 4, "crop_s": 2.0, "train": ["data/train-mini.jsonl"]},
    }
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    evaluation = scores_of(tiny_codec, tmp_path / "scores")
    prepare(best, tmp_path / "out", "someone/codec", licence="mit", evaluation=evaluation)
    card = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "mit" and front["library_name"] == "simvq-codec"
    for says in (
        'Codec.from_pretrained("someone/codec")',
        f"`{tiny_codec.fingerprint}`",
        "75 a second, from one codebook of 64",
        "| Rate | 450 bit/s |",
        "900 steps of 4 crops of 2 s: 2.0 hours of audio heard",
        "| Training started from | first/best |",
        "| Training data | train-mini |",
        "| pesq_wb | 2.500 | 2.250 to 2.750 | 9 | 1 |",
        "test-mini: 10 utterances of 5 speakers, 1.5 minutes",
    ):
        assert says in card, says
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    assert Codec.from_pretrained(tmp_path / "out", "cpu").fingerprint == tiny_codec.fingerprint


def test_a_card_of_shards_and_of_a_step_that_nobody_noted(tmp_path: Path, tiny_codec: Codec) -> None:
    best = tmp_path / "run" / "best"
    (tmp_path / "run").mkdir()
    shards = ["/data/libri/train-{00..12}.tar", "s3://bucket/more-{0..9}.tar?key=secret", "pipe:get --key secret"]
    settings = {"training": {"steps": 8000}, "data": {"batch_size": 4, "crop_s": 2.0, "shards": shards}}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    save_model(tiny_codec, best, 400)
    prepare(best, tmp_path / "out", "someone/codec")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| Training data | train-{00..12}, more-{0..9}, shards fetched by a command |" in card
    assert "400 steps of 4 crops" in card and "secret" not in card and "/data" not in card
    assert not (tmp_path / "out" / "training.json").exists()
    tiny_codec.save_pretrained(best)  # another model, of which nobody said how it was trained
    prepare(best, tmp_path / "again", "someone/codec")
    card = (tmp_path / "again" / "README.md").read_text()
    assert "up to 8,000 steps of 4 crops of 2 s; which step" in card and "hours" not in card
    (best / "training.json").write_text("{}")
    with pytest.raises(CodecError, match=r"training\.json: no step in it"):
        prepare(best, tmp_path / "third", "someone/codec")


def test_the_models_own_folder_stays_as_it_is(tmp_path: Path, tiny_model_dir: Path) -> None:
    before = {path.name: path.read_bytes() for path in tiny_model_dir.iterdir()}
    (tmp_path / "link").symlink_to(tiny_model_dir, target_is_directory=True)
    for output in (tiny_model_dir, tmp_path / "link", tiny_model_dir / "." / ".." / tiny_model_dir.name):
        with pytest.raises(CodecError, match="is the model's own folder"):
            prepare(tiny_model_dir, output, "someone/codec")
    assert {path.name: path.read_bytes() for path in tiny_model_dir.iterdir()} == before


def test_a_card_says_what_it_does_not_know(tmp_path: Path, tiny_model_dir: Path) -> None:
    prepare(tiny_model_dir, tmp_path / "out", "someone/codec")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: unknown" in card and "None were given with this model." in card and "Training" not in card


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_changed_file_is_refused(tmp_path: Path, tiny_model_dir: Path, tiny_codec: Codec, name: str) -> None:
    prepare(tiny_model_dir, tmp_path / "out", "someone/codec")
    data = bytearray((tmp_path / "out" / name).read_bytes())
    data[-2] ^= 1
    (tmp_path / "out" / name).write_bytes(data)
    with pytest.raises(CodecError, match=rf"{name}: is not the file that SHA256SUMS .* get the model again"):
        Codec.from_pretrained(tmp_path / "out", "cpu")
    tiny_codec.save_pretrained(tmp_path / "out")  # another model in its place has no sums
    assert Codec.from_pretrained(tmp_path / "out", "cpu").fingerprint == tiny_codec.fingerprint


def test_scores_of_another_model_are_refused(tmp_path: Path, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    evaluation = scores_of(tiny_codec, tmp_path / "scores")
    tiny_codec.decoder.head.out.bias.data += 1
    tiny_codec.save_pretrained(tmp_path / "other")
    with pytest.raises(CodecError, match="give the evaluation of this model"):
        prepare(tmp_path / "other", tmp_path / "out", "someone/codec", evaluation=evaluation)
    (evaluation / "summary.json").write_text("{}")
    with pytest.raises(CodecError, match="no finished evaluation"):
        prepare(tiny_model_dir, tmp_path / "out", "someone/codec", evaluation=evaluation)
    assert not (tmp_path / "out").exists()


def test_push(hub: type[Hub], tiny_codec: Codec) -> None:
    assert tiny_codec.push_to_hub("someone/codec", private=True, revision="v1") == "https://hub/commit/1"
    (_, made), (_, branch), (_, sent) = hub.calls
    assert made["name"] == "someone/codec" and made["private"] and made["exist_ok"]
    assert branch["branch"] == sent["revision"] == "v1"
    assert sent["names"] == ["README.md", "SHA256SUMS", "config.json", "model.safetensors"]


def test_what_stops_a_push(hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for fails, says in (
        (LocalTokenNotFoundError("hf_secret"), "run 'hf auth login' first"),
        (requests.ConnectionError("hf_secret"), "cannot be reached"),
        (ConnectionError("hf_secret"), "cannot be reached"),
    ):
        hub.fails = fails
        with pytest.raises(CodecError, match=says) as error:
            push(tmp_path, "someone/codec")
        assert "hf_secret" not in str(error.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CodecError, match="HF_HUB_OFFLINE is set, nothing is sent"):
        push(tmp_path, "someone/codec")
    with pytest.raises(CodecError, match="expected owner/name"):
        push(tmp_path, "codec")


def test_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(tiny_model_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    Codec.from_pretrained("someone/codec", "cpu", revision="v1")
    assert asked["name"] == "someone/codec" and asked["revision"] == "v1"
    assert "SHA256SUMS" in asked["allow_patterns"]
    with pytest.raises(CodecError, match="has no revision 'v1'"):
        find_model(tiny_model_dir, "v1")
