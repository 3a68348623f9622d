"""The cases of test_pretended_device.py, which starts them in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from contract_worker import SYSTEMS, latents, make
from devices.conftest import MakeAccelerator, MakeConfig
from pretended import DEVICE, There
from torch import Tensor
from training.run_contents import weights

from codec import Codec
from codec.config import merge
from codec.inference import Inference
from codec.quantizers.usage import CodeUsage
from codec.streaming import Windows, decode_chunks, encode_chunks
from codec.training.trainer import Trainer
from codec.training.warmup import codebook_sample

pytestmark = pytest.mark.usefixtures("pretending")


def here(tensor: Tensor) -> Tensor:
    """On the processor; what came must have been on the device."""
    assert isinstance(tensor, There)
    return tensor.here


def test_it_refuses_what_a_gpu_refuses() -> None:
    rows = torch.arange(12.0).view(3, 4).to(DEVICE)
    assert rows.device == DEVICE and rows.t().stride() == (1, 4) and bool((rows + 1 > 0).all())
    refused: list[Callable[[], Any]] = [
        lambda: rows + torch.ones(4),
        lambda: torch.cat([rows, torch.ones(3, 4)]),
        lambda: torch.ones(3)[rows[:, 0].long()],
        lambda: rows.normal_(generator=torch.Generator()),
    ]
    for attempt in refused:
        with pytest.raises(RuntimeError, match=r"two devices|of the device|generator"):
            attempt()


def test_recordings_are_encoded_and_decoded_as_by_the_processor(tiny_codec: Codec, speech: Tensor) -> None:
    both = {}
    short, long = speech[9000:20000], speech[9000:42000]
    for name, place in (("processor", torch.device("cpu")), ("device", DEVICE)):
        codec = Codec(tiny_codec.config).eval()
        codec.load_state_dict(tiny_codec.state_dict())
        codec.to(place)
        lengths = torch.tensor([len(short), 8000])
        padded = torch.stack([short, short])
        tokens = codec.encode([short, long])
        stream = torch.cat(list(encode_chunks(codec, long.split(7000))))
        parts = torch.cat(list(decode_chunks(codec, stream.split(50), Windows(0.8, 0.2))))
        found = [
            codec.encode(short).tokens,
            codec.encode(short, sample_rate=16_000).tokens,
            codec.encode(padded.to(place), lengths=lengths.to(place)).tokens,
            *tokens,
            stream,
            codec.decode(tokens),
            codec.decode(stream),
            parts,
            codec.latents([short, long]),
            codec.decode_latents(codec.latents([short, long]), torch.tensor([len(short), len(long)])),
            codec.embed(tokens),
        ]
        codec.inference = Inference("bfloat16")
        found += [codec.decode(tokens), codec.decode(stream)]
        both[name] = [here(one).double() if name == "device" else one.double() for one in found]
    limits = [1e-4] * (len(both["device"]) - 2) + [0.03, 0.03]  # of the whole, so that nothing is too soft to count
    for expected, given, limit in zip(both["processor"], both["device"], limits, strict=True):
        assert given.shape == expected.shape and float(expected.norm()) > 0
        assert float((given - expected).norm() / expected.norm()) < limit


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_bottleneck_starts_learns_and_codes_there(system: str) -> None:
    rows = torch.randn(300, 8, generator=torch.Generator().manual_seed(1))
    answers = []
    for place in (torch.device("cpu"), DEVICE):
        quantizer = make(system).to(place)
        for method in ("kmeans", "covariance"):
            quantizer.initialize(rows.to(place), method, torch.Generator().manual_seed(2))
        latent = latents(2, 8, 20).to(place)
        tokens = quantizer.eval().encode(latent)
        answers.append((tokens.cpu(), quantizer.decode(tokens).detach().cpu()))
        quantizer.describe()
        codebook_sample(quantizer, place)
        quantizer.train()
        out = quantizer(latents(1, 8, 30).to(place).requires_grad_())
        (out.loss + out.quantized.sum()).backward()
        assert all(float(value) == float(value) for value in out.metrics.values())
        usage = CodeUsage(quantizer.codebook_size, place)
        usage.update(out.tokens)
        usage.summary()
    assert torch.equal(answers[0][0], answers[1][0])
    torch.testing.assert_close(answers[0][1], answers[1][1])


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": {"name": "muon"}, "training": {"channels_last": True, "accumulate": 2}}],
    ids=["plain", "muon"],
)
def test_a_codec_is_trained_there_as_on_the_processor(
    changes: dict[str, Any], make_config: MakeConfig, accelerator_on: MakeAccelerator
) -> None:
    """With its warm-up, discriminators, validation and checkpoints; without dropout, rounding alone differs."""
    short = {"steps": 8, "validate_every": 4, "sample_every": 8, "checkpoint_every": 4}
    plain = {"model": {"decoder": {"dropout": 0.0}}, "training": short}
    logs, before, after = [], [], []
    for name, place in (("processor", torch.device("cpu")), ("device", DEVICE)):
        run = Trainer(make_config(name, **merge(plain, changes)), accelerator_on(place))
        before.append(on_processor(run))
        run.fit()
        assert all(isinstance(weight, There) == (place is DEVICE) for weight in run.trained)
        after.append(on_processor(run))
        logs.append([json.loads(line) for line in (run.run / "metrics.jsonl").read_text().splitlines()])
    assert len(logs[0]) == len(logs[1]) >= 6
    for one, other in zip(*logs, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"loss/commitment"}:  # which a token decides, and a token may be another by rounding
            if key.startswith(("loss/", "grad_norm/")):
                within = 0.01 if key.startswith("loss/") else 0.2
                assert other[key] == pytest.approx(one[key], rel=within, abs=within), (one["step"], key)
    for part in ("codec", "disc", "ema"):  # as far as they have moved, or weights that stay would be as good
        names = [name for name in before[0] if name.startswith(part) and not name.endswith("codebook")]
        moved = torch.stack([(after[0][name] - before[0][name]).float().norm() for name in names]).norm()
        apart = torch.stack([(after[1][name] - after[0][name]).float().norm() for name in names]).norm()
        assert float(moved) > 0 and float(apart / moved) < 0.15, (part, float(apart / moved))


def on_processor(run: Trainer) -> dict[str, Tensor]:
    return {name: getattr(weight, "here", weight).clone() for name, weight in weights(run).items()}
