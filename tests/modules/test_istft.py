"""Spectra to signals on devices whose library reads what belongs to no real signal."""

from __future__ import annotations

import pytest
import torch

from codec.modules.istft import real_signal, with_real_ends


@pytest.mark.parametrize("n_fft", [16, 15])
def test_only_what_an_inverse_transform_passes_over_is_left_out(n_fft: int) -> None:
    generator = torch.Generator().manual_seed(1)
    bins = n_fft // 2 + 1
    spectrum = torch.randn(2, 3, bins, dtype=torch.complex64, generator=generator).requires_grad_()
    real = with_real_ends(spectrum, n_fft)
    ends = [0, -1] if n_fft % 2 == 0 else [0]
    assert bool((real.imag[..., ends] == 0).all())
    assert int((real != spectrum).sum()) == 6 * len(ends)
    expected = torch.fft.irfft(spectrum, n=n_fft)
    signal = torch.fft.irfft(real, n=n_fft)
    torch.testing.assert_close(signal, expected)
    torch.testing.assert_close(real_signal(spectrum, n_fft), expected)
    towards = torch.randn(signal.shape, generator=generator)
    one, other = (torch.autograd.grad(made, spectrum, towards, retain_graph=True)[0] for made in (signal, expected))
    torch.testing.assert_close(one, other)
