"""Images are PNG files of the size asked for, and show what is heard, where it is heard."""

from __future__ import annotations

import io
import math

import matplotlib.image
import numpy as np
import pytest
import torch
from torch import Tensor

from codec.drawing import FLOOR_DB, N_MELS, audio_image, mel_decibels

RATE = 24_000


def tone(hertz: float, seconds: float = 1.0, amplitude: float = 1.0) -> Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


def pixels(png: bytes) -> np.ndarray:
    """Height, width, RGBA in [0, 1]."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(io.BytesIO(png))


def test_a_tone_has_its_maximum_in_its_own_row() -> None:
    levels = mel_decibels(tone(1000), RATE)
    assert levels.shape == (N_MELS, 101)  # 100 frames a second and the one that ends it
    step = 2595 * math.log10(1 + RATE / 2 / 700) / (N_MELS + 1)
    row = 2595 * math.log10(1 + 1000 / 700) / step - 1
    assert abs(int(levels[:, 50].argmax()) - row) <= 1


def test_a_tenth_of_the_amplitude_is_twenty_decibels_less() -> None:
    loud, quiet = mel_decibels(tone(1000), RATE), mel_decibels(tone(1000, amplitude=0.1), RATE)
    assert float(loud.max() - quiet.max()) == pytest.approx(20, abs=0.1)


def test_silence_is_drawn_below_the_floor_of_any_speech() -> None:
    assert float(mel_decibels(torch.zeros(RATE), RATE).max()) < FLOOR_DB


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("samples", [1, 100, 30_000])
def test_any_length_and_rate_can_be_drawn(rate: int, samples: int) -> None:
    audio = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    assert pixels(audio_image(audio, rate)).shape == (440, 800, 4)


def test_silence_can_be_drawn() -> None:
    assert pixels(audio_image(torch.zeros(RATE), RATE)).shape == (440, 800, 4)


def test_the_waveform_stands_where_the_sound_is_and_the_ground_is_transparent() -> None:
    wave = pixels(audio_image(torch.cat([torch.zeros(RATE), tone(500)]), RATE))[:100]
    drawn = wave[..., 3] > 0.5
    columns = np.flatnonzero(drawn.any(axis=0))
    half = (columns[0] + columns[-1]) // 2
    assert drawn[:, half + 8 : columns[-1] - 8].mean() > 0.8
    assert drawn[:, : half - 8].mean() < 0.05


def test_the_spectrogram_stands_below_the_waveform_on_the_same_time_axis() -> None:
    image = pixels(audio_image(torch.cat([torch.zeros(RATE), tone(1000)]), RATE))
    columns = np.flatnonzero((image[:100, :, 3] > 0.5).any(axis=0))
    half = (columns[0] + columns[-1]) // 2
    bright = image[140:400, :, 0] * (image[140:400, :, 3] > 0.5)  # magma is red where it is loud
    assert bright[:, half + 20 : columns[-1] - 20].max() > 0.9
    assert bright[:, columns[0] + 4 : half - 20].max() < 0.1


def test_images_compare_when_they_share_a_scale() -> None:
    loud, quiet = tone(500), tone(500, amplitude=0.01)
    top = float(mel_decibels(loud, RATE).max())
    images = [pixels(audio_image(audio, RATE, peak=1.0, top_db=top)) for audio in (loud, quiet)]
    heights = [(image[:100, :, 3] > 0.5).any(axis=1).sum() for image in images]
    assert heights[0] > 10 * heights[1]
    assert images[0][140:400, 100:700, 0].max() > 0.9 > images[1][140:400, 100:700, 0].max()
