"""A model in the place of another: the old one, the new one, or a refusal, whenever it is cut short."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from codec import Codec, CodecError, ModelConfig
from codec.config import build
from codec.sharing import prepare


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def other() -> Codec:
    """A codec of other settings and weights of the same shapes: half of each would load as a third model."""
    small = {"channels": 2, "latent_dim": 4, "lstm_layers": 0}
    decoder = {"dim": 8, "hidden_dim": 8, "layers": 1, "residual_blocks": 0, "attention": False, "group_norm_groups": 2}
    return Codec(
        build(
            ModelConfig,
            {"encoder": small, "decoder": decoder, "quantizer": {"name": "rotation", "codebook_size": 4}},
        )
    )


@pytest.fixture
def shared(other: Codec, tmp_path: Path) -> Path:
    """A shared model of the shapes of ``other``: with card and checksums."""
    settings = {**other.config.model_dump(mode="json"), "quantizer": {"name": "vq", "codebook_size": 4}}
    Codec(build(ModelConfig, settings)).save_pretrained(tmp_path / "first")
    prepare(tmp_path / "first", tmp_path / "shared", "someone/codec")
    return tmp_path / "shared"


def test_a_full_disk_leaves_the_model_that_is_there(
    shared: Path, other: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    other.save_pretrained(tmp_path / "other")
    before = contents(shared)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        patch.setattr("shutil.copyfile", full)
        with pytest.raises(CodecError, match=r"No space left on device\); nothing was written"):
            other.save_pretrained(shared)
        with pytest.raises(CodecError, match=r"No space left on device\); nothing was written"):
            prepare(tmp_path / "other", shared, "someone/codec")
        with pytest.raises(CodecError):
            other.save_pretrained(tmp_path / "new" / "model")
    assert contents(shared) == before
    assert not (tmp_path / "new").exists()


class DiedError(BaseException):
    """The process is killed."""


@pytest.mark.parametrize("way", ["save", "prepare", "other settings"])
def test_a_kill_never_leaves_a_mix(
    shared: Path, other: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "save":  # the common case of training: other weights, the same settings, no checksums
        shared = tmp_path / "first"
        other = Codec(Codec.from_pretrained(shared, "cpu").config)
    other.save_pretrained(tmp_path / "other")
    fingerprints = {Codec.from_pretrained(shared, "cpu").fingerprint, other.fingerprint}
    before = contents(shared)
    found = []
    for last in range(30):
        for path in shared.iterdir():
            path.unlink()
        for name, content in before.items():
            (shared / name).write_bytes(content)
        done = 0

        def mortal(act, last: int = last):
            def call(*args: object, **more: object) -> object:
                nonlocal done
                done += 1
                if done > last:
                    raise DiedError
                return act(*args, **more)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", mortal(Path.replace))
            patch.setattr(Path, "unlink", mortal(Path.unlink))
            try:
                if way == "prepare":
                    prepare(tmp_path / "other", shared, "someone/codec")
                else:
                    other.save_pretrained(shared)
                break
            except DiedError:
                pass
        try:
            found.append(Codec.from_pretrained(shared, "cpu").fingerprint)
        except CodecError as error:
            assert "SHA256SUMS" in str(error) and way != "save"
    assert 3 < last < 29
    assert {*found} == fingerprints
    assert Codec.from_pretrained(shared, "cpu").fingerprint == other.fingerprint
    assert ("SHA256SUMS" in contents(shared)) == (way == "prepare")


def test_a_file_is_no_folder_for_a_model(other: Codec, tmp_path: Path) -> None:
    (tmp_path / "file.wav").write_bytes(b"RIFF")
    with pytest.raises(CodecError, match=r"file\.wav/.*: cannot write there"):
        other.save_pretrained(tmp_path / "file.wav")
    assert contents(tmp_path) == {"file.wav": b"RIFF"}
