from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import codec.audio as audio_io
from codec import CodecError, RunConfig
from codec.config import DataConfig
from codec.manifest import Utterance, read_manifest, write_manifest
from codec.training.crops import read_crop
from codec.training.data import CropDataset, StepSampler, crop_loader, validation_crops
from codec.training.trainer import Trainer


@pytest.fixture
def utterances(manifest: Path) -> list[Utterance]:
    return read_manifest(manifest)


def dataset(utterances: list[Utterance], seed: int = 0, **settings: object) -> CropDataset:
    return CropDataset(utterances, 24_000, DataConfig(**{"crop_s": 0.1, **settings}), seed)  # type: ignore[arg-type]


def test_a_crop_is_a_piece_of_the_file(utterances: list[Utterance]) -> None:
    utterance = utterances[0]
    whole = audio_io.load(utterance.path, 24_000)
    for where in (0.0, 0.37, 0.999999):
        crop = read_crop(utterance, 24_000, 2400, where)
        assert crop.shape == (2400,)
        starts = (whole.unfold(0, 2400, 1) == crop).all(dim=1).nonzero()
        assert len(starts) >= 1
        expected = where * (len(whole) - 2400)
        assert abs(int(starts[0]) - expected) <= 1


def test_crops_follow_from_seed_and_position_alone(utterances: list[Utterance]) -> None:
    one, other = dataset(utterances), dataset(utterances)
    positions = [17, 3, 10_004, 3]
    crops = {position: one[position] for position in positions}
    for position in reversed(positions):
        assert torch.equal(other[position], crops[position])
    assert not torch.equal(dataset(utterances, seed=1)[3], crops[3])
    assert not torch.equal(one[4], crops[3])


def test_an_epoch_takes_every_utterance_once_in_its_own_order(utterances: list[Utterance]) -> None:
    data = dataset(utterances)
    orders = []
    for epoch in (0, 1):
        orders.append([data.recordings.pick(data.seed, epoch, place).path for place in range(10)])
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(utterance.path for utterance in utterances)
    assert orders[0] != orders[1]


def test_short_utterances_are_repeated_and_other_rates_resampled(tmp_path: Path) -> None:
    ramp = torch.linspace(-0.5, 0.5, 1000)
    audio_io.write(tmp_path / "short.wav", ramp, 24_000)
    crop = read_crop(Utterance("s", tmp_path / "short.wav", 1000, 24_000), 24_000, 2400, 0.5)
    torch.testing.assert_close(crop, ramp.repeat(3)[:2400], atol=1e-4, rtol=0)

    tone = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    audio_io.write(tmp_path / "tone.wav", tone, 16_000)
    crop = read_crop(Utterance("t", tmp_path / "tone.wav", 16_000, 16_000), 24_000, 12_000, 0.0)
    expected = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(12_000) / 24_000)
    assert (crop - expected)[100:-100].abs().max() < 0.01


def test_gain_is_drawn_from_its_range(utterances: list[Utterance]) -> None:
    plain, louder = dataset(utterances), dataset(utterances, gain_db=(-6.0, -1.0))
    ratios = [20 * torch.log10(louder[n].norm() / plain[n].norm()).item() for n in range(10)]
    assert -6 <= min(ratios) < max(ratios) <= -1
    halved = dataset(utterances, gain_db=(-6.0, -6.0))
    torch.testing.assert_close(halved[0], plain[0] * 10 ** (-6 / 20))


def test_a_faster_crop_is_higher_and_still_whole(tmp_path: Path) -> None:
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(24_000) / 24_000)
    audio_io.write(tmp_path / "tone.wav", tone, 24_000)
    data = dataset([Utterance("t", tmp_path / "tone.wav", 24_000, 24_000)] * 4, speed=(0.8, 1.25))
    peaks = []
    for position in range(80):
        crop = data[position]
        assert crop.shape == (2400,)
        peaks.append(round(int(torch.fft.rfft(crop, n=24_000).abs().argmax()) / 440 * 20))
    assert set(peaks) == set(range(16, 26))  # every twentieth of the range, and no other


def test_the_equaliser_changes_octaves_by_at_most_what_is_set(utterances: list[Utterance]) -> None:
    plain, changed = dataset(utterances), dataset(utterances, equaliser_db=6.0)
    ratios = []
    for n in range(10):
        before, after = torch.fft.rfft(plain[n]).abs(), torch.fft.rfft(changed[n]).abs()
        heard = before > 1e-3 * before.max()
        ratios.append(20 * torch.log10(after[heard] / before[heard]))
        assert ratios[-1].std() > 0.5  # timbre, not only level
    assert 3 < torch.cat(ratios).abs().max() < 6.01


def test_what_is_off_draws_nothing(utterances: list[Utterance]) -> None:
    gain = dataset(utterances, gain_db=(-6.0, -1.0))
    all_of_it = dataset(utterances, gain_db=(-6.0, -1.0), speed=(1.0, 1.0), equaliser_db=0.0)
    assert all(torch.equal(gain[n], all_of_it[n]) for n in range(4))
    as_recorded = dataset(utterances, gain_db=(-6.0, -1.0), speed=(1.0, 1.05))
    assert any(torch.equal(gain[n], as_recorded[n]) for n in range(10))  # the same place and gain, where speed is 1


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (4, 1), (2, 3), (1, 12)])
def test_processes_and_micro_batches_share_the_same_positions(world: int, accumulate: int) -> None:
    shares = [list(StepSampler(12, 5, 8, accumulate=accumulate, rank=rank, world=world)) for rank in range(world)]
    for step in range(3):
        taken = [
            position
            for rank in range(world)
            for micro in range(accumulate)
            for position in shares[rank][step * accumulate + micro]
        ]
        assert sorted(taken) == list(range((5 + step) * 12, (6 + step) * 12))


def test_workers_change_nothing(utterances: list[Utterance]) -> None:
    data = dataset(utterances)
    sampler = StepSampler(4, 0, 3)
    alone = list(crop_loader(data, sampler, 0, pin_memory=False))
    shared = list(crop_loader(data, sampler, 2, pin_memory=False))
    assert [batch.shape for batch in alone] == [(4, 1, 2400)] * 3
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_workers_outlive_the_signal_that_preempts_a_job(utterances: list[Utterance]) -> None:
    batches = crop_loader(dataset(utterances), StepSampler(4, 0, 20), 1, pin_memory=False)
    next(batches)
    for worker in multiprocessing.active_children():
        worker.terminate()  # SIGTERM
        time.sleep(0.5)
    assert len(list(batches)) == 19


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_gone_or_shorter_than_promised_is_named_in_one_line(
    utterances: list[Utterance], tmp_path: Path, workers: int
) -> None:
    gone = replace(utterances[0], path=tmp_path / "gone.flac")
    with pytest.raises(CodecError) as error:
        list(crop_loader(dataset([gone]), StepSampler(1, 0, 1), workers, pin_memory=False))
    assert "gone.flac" in str(error.value)
    assert "\n" not in str(error.value)
    longer = replace(utterances[0], num_samples=utterances[0].num_samples + 99_999_999)
    with pytest.raises(CodecError, match="the manifest promises"):
        list(crop_loader(dataset([longer]), StepSampler(1, 0, 1), workers, pin_memory=False))


def test_validation_crops_are_always_the_same(utterances: list[Utterance]) -> None:
    settings = DataConfig(validation_crop_s=1.0, validation_crops=4)
    crops = validation_crops(utterances, 24_000, settings)
    assert [crop.shape for crop in crops] == [(24_000,)] * 4
    assert all(torch.equal(a, b) for a, b in zip(crops, validation_crops(utterances, 24_000, settings), strict=True))
    whole = validation_crops(utterances[:1], 24_000, DataConfig(validation_crop_s=1000.0))
    assert whole[0].shape == (utterances[0].num_samples,)


def test_a_validation_utterance_shorter_than_a_transform_is_repeated(
    tmp_path: Path, make_config: Callable[..., RunConfig], make_trainer: Callable[..., Trainer]
) -> None:
    """A run would end at its first validation, and at every one that it is resumed for."""
    audio_io.write(tmp_path / "word.wav", 0.1 * torch.randn(300), 24_000)
    write_manifest(tmp_path / "words.jsonl", [Utterance("word", tmp_path / "word.wav", 300, 24_000)])
    trainer = make_trainer(make_config(data={"validation": [str(tmp_path / "words.jsonl")]}))
    (crop,) = trainer.validation.crops
    assert len(crop) == 513 and torch.equal(crop[300:], crop[:213])
    assert trainer.validation.run(trainer.ema.codec, trainer.mel, torch.ones(()), bypass=True)["loss/mel"] > 0


def test_relative_manifests_move_with_their_folder(utterances: list[Utterance], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    audio_io.write(tmp_path / "a" / "x.wav", torch.zeros(2400), 24_000)
    write_manifest(tmp_path / "a" / "m.jsonl", [Utterance("x", tmp_path / "a" / "x.wav", 2400, 24_000)])
    (tmp_path / "a").rename(tmp_path / "b")
    moved = read_manifest(tmp_path / "b" / "m.jsonl")
    assert read_crop(moved[0], 24_000, 2400, 0.0).shape == (2400,)
