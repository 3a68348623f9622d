"""The encoder's transformer: causal, of bounded reach, the same in chunks, batches and wherever it stands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codec import Codec, CodecError, ModelConfig
from codec.config import TransformerConfig, build
from codec.modules.transformer import CausalTransformer

CONFIG = TransformerConfig(layers=2, heads=4, window=5)
REACH = CONFIG.layers * (CONFIG.window - 1)


@pytest.fixture
def transformer() -> CausalTransformer:
    torch.manual_seed(0)
    made = CausalTransformer(16, CONFIG).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("_scale"):
            torch.nn.init.ones_(parameter)  # at their start the branches hardly show
    return made


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[1] * 23, [23], [4, 0, 5, 1, 13], [6, 17], [0, 22, 1]])
def test_chunks_give_what_the_whole_gives(transformer: CausalTransformer, sizes: list[int]) -> None:
    x, state = torch.randn(2, 16, sum(sizes)), transformer.initial_state()
    chunks = torch.cat([transformer.step(chunk, state) for chunk in x.split(sizes, dim=-1)], dim=-1)
    torch.testing.assert_close(chunks, transformer(x), rtol=1e-5, atol=1e-5)
    assert state[0].keys is not None and state[0].keys.shape == (2, 4, CONFIG.window - 1, 4)


@torch.no_grad()
def test_a_frame_sees_the_window_of_every_layer_and_nothing_else(transformer: CausalTransformer) -> None:
    x = torch.randn(1, 16, 40)
    changed = x.clone()
    changed[..., 20] += torch.randn(16)  # an equal shift of all channels is what the norms take away
    moved = (transformer(x) - transformer(changed)).abs().amax(dim=1)[0]  # (F,)
    assert (moved > 1e-6).nonzero().flatten().tolist() == list(range(20, 21 + REACH))


@torch.no_grad()
def test_a_batch_gives_what_its_rows_give(transformer: CausalTransformer) -> None:
    x = torch.randn(3, 16, 17)
    rows = torch.cat([transformer(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(transformer(x), rows, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_where_a_frame_stands_does_not_matter(transformer: CausalTransformer) -> None:
    """Unlike rotary positions in float32, an hour in is like the first second."""
    x = torch.randn(1, 16, 60)
    torch.testing.assert_close(transformer(x)[..., -20:], transformer(x[..., -20 - REACH :])[..., -20:])


def plain_attention(x: Tensor, transformer: CausalTransformer) -> Tensor:
    """The definition, frame by frame."""
    x = x.transpose(1, 2)
    for block in transformer.blocks:
        query, key, value = block.project(block.attention_norm(x)).chunk(3, dim=-1)
        mixed = torch.zeros_like(x)
        for head in range(4):
            own = slice(4 * head, 4 * head + 4)
            for frame in range(x.shape[1]):
                seen = range(max(0, frame - CONFIG.window + 1), frame + 1)
                scores = torch.stack([(query[0, frame, own] @ key[0, f, own]) / 2 for f in seen])
                scores -= 2.0 ** (-8 * (head + 1) / 4) * torch.tensor([float(frame - f) for f in seen])
                mixed[0, frame, own] = scores.softmax(0) @ value[0, seen.start : seen.stop, own]
        x = x + block.out(mixed)
        x = x + block.contract(torch.nn.functional.gelu(block.expand(block.hidden_norm(x))))
    return x.transpose(1, 2)


@torch.no_grad()
def test_it_computes_what_it_says(transformer: CausalTransformer) -> None:
    x = torch.randn(1, 16, 13)
    torch.testing.assert_close(transformer(x), plain_attention(x, transformer), rtol=1e-4, atol=1e-5)


def test_in_a_codec_it_trains_saves_and_loads(tiny_codec: Codec, tmp_path, speech: Tensor) -> None:  # type: ignore[no-untyped-def]
    settings = tiny_codec.config.model_dump(mode="json")
    settings["encoder"]["transformer"] = {"layers": 2, "heads": 4, "window": 20}
    codec = Codec(build(ModelConfig, settings))
    codec(speech.view(1, 1, -1)).audio.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in codec.encoder.transformer.parameters())
    codec.eval().save_pretrained(tmp_path)
    loaded = Codec.from_pretrained(tmp_path, device="cpu")
    assert torch.equal(loaded.encode(speech).tokens, codec.encode(speech).tokens)
    settings["encoder"]["transformer"]["heads"] = 7
    with pytest.raises(CodecError, match=r"encoder\.transformer\.heads=7 must divide the 64 channels"):
        build(ModelConfig, settings)
