"""Counting codes one by one, and counting only those that occur: the same facts."""

from __future__ import annotations

import pytest
import torch

from codec.config import BSQConfig
from codec.quantizers import build_quantizer
from codec.quantizers import usage as usage_module
from codec.quantizers.usage import CodeUsage
from codec.training.dimensions import CODES, codebook_sample

MOST = 1 << 31


@pytest.mark.parametrize("waiting", [1, 25, 1000])  # tokens are counted at each update, now and then, at the end
def test_both_ways_of_counting_agree(monkeypatch: pytest.MonkeyPatch, waiting: int) -> None:
    batches = [torch.randint(50, (2, 10), generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    found = []
    for dense in (50, 49):
        monkeypatch.setattr(usage_module, "DENSE", dense)
        monkeypatch.setattr(usage_module, "WAITING", waiting)
        usage = CodeUsage(50)
        for tokens in batches:
            usage.update(tokens)
        usage.join_processes()  # alone nothing happens
        usage.update(torch.tensor([49, 3]), torch.tensor([1000, 7]))
        codes, times = usage.occurring()
        found.append((codes.tolist(), times.tolist(), usage.total(), usage.summary()))
        usage.reset()
        assert usage.total() == 0 and usage.summary()["codes_used"] == 0
    counts = torch.cat([tokens.flatten() for tokens in batches]).bincount(minlength=50)
    counts += 1000 * (torch.arange(50) == 49) + 7 * (torch.arange(50) == 3)
    assert found[0] == found[1]
    assert found[0][:3] == (counts.nonzero()[:, 0].tolist(), counts[counts > 0].tolist(), 1127)


def test_the_largest_codebook_is_counted_and_sampled() -> None:
    usage = CodeUsage(MOST)  # 16 GB, were there a count for each
    usage.update(torch.tensor([0, MOST - 1, MOST - 1, 5]))
    summary = usage.summary()
    assert summary["codes_used"] == 3 and summary["entropy_bits"] == pytest.approx(1.5)
    assert summary["normalized_entropy"] == pytest.approx(1.5 / 31)
    quantizer = build_quantizer(8, BSQConfig(codebook_size=MOST)).eval()
    codes = codebook_sample(quantizer, torch.device("cpu"))
    assert CODES - 10 < len(codes) <= CODES and codes.shape[1] == 8  # 0.1 of them twice on average
    assert torch.equal(codes, codebook_sample(quantizer, torch.device("cpu")))
    tokens = torch.tensor([[0, 1, MOST - 1]])
    assert quantizer.decode(tokens).isfinite().all()


def test_a_small_codebook_is_sampled_whole() -> None:
    quantizer = build_quantizer(8, BSQConfig(codebook_size=64)).eval()
    codes = codebook_sample(quantizer, torch.device("cpu"))
    assert len(codes) == len(codes.unique(dim=0)) == 64
