"""Sizes that follow from the sample rate and the hop where a user's settings say nothing about them.

The published sizes are those of 24 kHz and a hop of 320. Transforms of the losses and discriminators keep their
duration as nearly as powers of two can; mel bands keep their width.
"""

from __future__ import annotations

import math
from typing import Any

PUBLISHED_RATE = 24_000  # Hz
WINDOW_HOPS = 4  # the inverse STFT's window, in hops, as published: 1280 samples over 320


def follow_hop(model: dict[str, Any], default_strides: tuple[int, ...], default_stem: int) -> dict[str, Any]:
    """Plain model settings with ``decoder.n_fft`` of four hops, if they do not say it."""
    encoder, decoder = model.get("encoder", {}), model.get("decoder", {})
    if not (isinstance(encoder, dict) and isinstance(decoder, dict)) or "n_fft" in decoder:
        return model
    strides, stem = encoder.get("strides", default_strides), encoder.get("stem_stride", default_stem)
    if not isinstance(strides, list | tuple) or not all(type(s) is int and s > 0 for s in (stem, *strides)):
        return model  # checking the settings says what is wrong
    return {**model, "decoder": {**decoder, "n_fft": WINDOW_HOPS * stem * math.prod(strides)}}


def follow_rate(run: dict[str, Any], published: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Plain run settings with transforms scaled to ``model.sample_rate``, where they do not say them.

    Args:
        run: the settings.
        published: those of 24 kHz: ``discriminators.resolutions``, ``.dac_fft_sizes`` and ``losses.mel_scales``.
    """
    model = run.get("model", {})
    rate = model.get("sample_rate", PUBLISHED_RATE) if isinstance(model, dict) else PUBLISHED_RATE
    if type(rate) is not int or rate <= 0:
        return run
    power = round(math.log2(rate / PUBLISHED_RATE))
    bands = _mel(rate / 2) / _mel(PUBLISHED_RATE / 2)
    filled = dict(run)
    for section, settings in published.items():
        said = run.get(section, {})
        if isinstance(said, dict):
            filled[section] = {**{key: _scaled(value, power, bands) for key, value in settings.items()}, **said}
    return filled


def _scaled(value: Any, power: int, bands: float) -> Any:
    """Sizes times 2^power, numbers of mel bands times ``bands``."""
    if isinstance(value, dict):
        return {
            key: round(number * bands) if key == "n_mels" else _scaled(number, power, bands)
            for key, number in value.items()
        }
    if isinstance(value, list):
        return [_scaled(item, power, bands) for item in value]
    return round(value * 2**power)


def _mel(frequency: float) -> float:
    """HTK's mel scale, as the mel loss has it."""
    return 2595 * math.log10(1 + frequency / 700)
