"""Pictures of audio: a waveform above its mel spectrogram, as PNG, made to stand on a light or a dark page alike."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter
from PIL import Image
from torch import Tensor

from codec.audio.mel import hertz_to_mel, mel_bands, mel_spectrogram

INK = "#858b98"  # axes and labels: a grey that is legible on white and on black
WAVE = "#4c7df0"
FLOOR_DB = -80.0  # below the loudest point of the reference a spectrogram is black
HOP_S = 0.01
N_MELS = 80
TICKS_HZ = (500, 1000, 2000, 4000, 8000)


def mel_decibels(audio: Tensor, sample_rate: int) -> Tensor:
    """Mel spectrogram in dB of full scale, for the eye only: (T,) -> (80, F) at 100 frames a second."""
    hop = max(round(HOP_S * sample_rate), 1)
    n_fft = 2 ** math.ceil(math.log2(4 * hop))
    bands = mel_bands(sample_rate, n_fft, N_MELS)
    # Reflection would refuse audio shorter than half a window.
    power = mel_spectrogram(audio.float(), bands, hop, power=2.0, pad_mode="constant")
    power /= torch.hann_window(n_fft).square().sum()  # of a sine at full scale, whatever the window
    return 10 * power.clamp_min(1e-10).log10()


def audio_image(audio: Tensor, sample_rate: int, *, peak: float | None = None, top_db: float | None = None) -> bytes:
    """Waveform above mel spectrogram, on one time axis, as a PNG of 800 × 440 pixels.

    Images of several versions of one recording compare when all have the original's ``peak`` and ``top_db``.

    Args:
        audio: (T,) float.
        sample_rate: Hz.
        peak: top of the waveform's scale. None: the largest sample.
        top_db: level of the brightest colour. None: the spectrogram's maximum (:func:`mel_decibels`).
    """
    # Not pyplot: it keeps figures alive and may look for a display.
    figure = Figure(figsize=(4, 2.2), dpi=200, layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, hspace=0))
    FigureCanvasAgg(figure)
    wave, mel = figure.subplots(2, sharex=True, height_ratios=(1, 2.4))
    for axes in (wave, mel):
        axes.tick_params(colors=INK, labelsize=9, length=2, width=0.5, pad=1.5)
        axes.spines[:].set_visible(False)
    _draw_waveform(wave, audio, sample_rate, float(audio.abs().max()) if peak is None else peak)
    _draw_mel(mel, audio, sample_rate, top_db)
    data = io.BytesIO()
    figure.savefig(data, format="png", transparent=True)
    return data.getvalue()


def compact_png(png: bytes, width: int = 480, colours: int = 64) -> bytes:
    """A picture as a smaller one of few colours: about a sixth of the bytes, for pages with many."""
    picture = Image.open(io.BytesIO(png))
    small = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.quantize(colours, method=Image.Quantize.FASTOCTREE).save(data, format="png", optimize=True)  # keeps alpha
    return data.getvalue()


def _draw_waveform(axes: Axes, audio: Tensor, sample_rate: int, peak: float) -> None:
    """For each column of pixels the range of the samples under it."""
    edges = np.linspace(0, audio.shape[-1], min(audio.shape[-1], 800) + 1).astype(int)[:-1]
    samples = audio.float().numpy()
    low, high = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
    axes.fill_between(edges / sample_rate, low, high, color=WAVE, linewidth=0.4)
    axes.set_ylim(-1.05 * (peak or 1.0), 1.05 * (peak or 1.0))
    axes.tick_params(bottom=False)
    axes.set_yticks([])


def _draw_mel(axes: Axes, audio: Tensor, sample_rate: int, top_db: float | None) -> None:
    levels = mel_decibels(audio, sample_rate)
    top = float(levels.max()) if top_db is None else top_db
    axes.imshow(
        levels.numpy(),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=top + FLOOR_DB,
        vmax=top,
        extent=(0, audio.shape[-1] / sample_rate, -0.5, N_MELS - 0.5),
        interpolation="nearest",  # smoothing makes the files three times as large
    )
    marks = [hertz for hertz in TICKS_HZ if hertz < sample_rate / 2]
    axes.set_yticks(_mel_rows(marks, sample_rate), [f"{hertz / 1000:g}k" for hertz in marks])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))


def _mel_rows(hertz: Sequence[float], sample_rate: int) -> list[float]:
    """Rows (fractional) of frequencies in a mel image."""
    step = hertz_to_mel(sample_rate / 2) / (N_MELS + 1)  # row r has its peak at (r + 1) steps
    return [hertz_to_mel(frequency) / step - 1 for frequency in hertz]
