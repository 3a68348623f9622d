from __future__ import annotations

from pathlib import Path

import pytest
import torch
from doubles import RATE
from torch import Tensor

from codec import Codec, CodecError, audio
from codec.evaluation.systems import GroundTruth, ModelSystem, ReconstructedFiles
from codec.manifest import Utterance


def test_model_folder(
    tiny_codec: Codec, tiny_model_dir: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    system = ModelSystem(tiny_model_dir, "cpu")
    result = system.reconstruct(utterances[0], clips[0])
    tokens = tiny_codec.encode(clips[0])
    assert result.tokens is not None and torch.equal(result.tokens, tokens.tokens[0])
    assert torch.equal(result.audio, tiny_codec.decode(tokens)[0, 0])
    assert result.audio.shape == clips[0].shape and not result.from_file
    assert system.sample_rate == RATE
    assert system.rate.codebook_size == 64 and system.rate.bitrate_bps == 450
    assert system.identity == f"model {tiny_codec.fingerprint}"


def test_model_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="no such model folder"):
        ModelSystem(tmp_path / "none", "cpu")


def test_ground_truth(utterances: list[Utterance], clips: list[Tensor]) -> None:
    assert torch.equal(GroundTruth(RATE).reconstruct(utterances[0], clips[0]).audio, clips[0])


def test_reconstructed_files(utterances: list[Utterance], clips: list[Tensor], tmp_path: Path) -> None:
    audio.write(tmp_path / "u0.flac", clips[0], RATE)
    audio.write(tmp_path / "u1.wav", audio.resample(clips[1], RATE, 16_000), 16_000)
    system = ReconstructedFiles(tmp_path, RATE)
    same = system.reconstruct(utterances[0], clips[0])
    torch.testing.assert_close(same.audio, clips[0], atol=2e-4, rtol=0)
    assert same.from_file
    assert abs(len(system.reconstruct(utterances[1], clips[1]).audio) - len(clips[1])) <= 1
    with pytest.raises(CodecError, match=r"no file of this id \(.wav, .flac, .ogg\)"):
        system.reconstruct(utterances[2], clips[2])
    with pytest.raises(CodecError, match="no such folder"):
        ReconstructedFiles(tmp_path / "none", RATE)
