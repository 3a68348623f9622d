"""What names a model, and what its tokens."""

from __future__ import annotations

import torch

from codec import Codec
from codec.config import ModelConfig, build


def test_fingerprint_names_weights_and_settings(tiny_codec: Codec) -> None:
    before = tiny_codec.fingerprint
    assert len(before) == 16
    int(before, 16)
    with torch.no_grad():
        tiny_codec.decoder.head.out.bias[0] += 1e-3
    assert tiny_codec.fingerprint != before


def test_tokens_are_named_by_what_they_follow_from(tiny_codec: Codec) -> None:
    before = tiny_codec.token_fingerprint
    assert before != tiny_codec.fingerprint and len(before) == 16
    other = Codec(
        build(ModelConfig, {**tiny_codec.config.model_dump(mode="json"), "decoder": {"dim": 64, "layers": 1}})
    )
    other.encoder, other.quantizer = tiny_codec.encoder, tiny_codec.quantizer
    assert other.token_fingerprint == before and other.decodes(before) and tiny_codec.decodes(other.token_fingerprint)
    assert tiny_codec.decodes(tiny_codec.fingerprint) and not other.decodes(tiny_codec.fingerprint)
    with torch.no_grad():
        tiny_codec.encoder.stem.conv.bias[:2] = torch.tensor([0.0, -0.0])
        before = tiny_codec.token_fingerprint
        tiny_codec.encoder.stem.conv.bias[:2] = torch.tensor([-0.0, 0.0])  # as the average of weights may have it
    assert tiny_codec.decodes(before)
    for weight in (tiny_codec.encoder.stem.conv.bias, tiny_codec.quantizer.state_dict()["projection.weight"]):
        with torch.no_grad():
            weight.view(-1)[0] += 1e-3
        assert not tiny_codec.decodes(before) and not other.decodes(before)
        before = tiny_codec.token_fingerprint


def test_fingerprint_names_the_system(tiny_codec: Codec) -> None:
    """Equal settings and weights of two systems make other tokens, or say so for all anybody knows."""
    found = set()
    for one, other in (("lfq", "bsq"), ("vq", "rotation")):
        codecs = []
        for name in (one, other):
            settings = {**tiny_codec.config.model_dump(mode="json"), "quantizer": {"name": name, "codebook_size": 64}}
            codecs.append(Codec(build(ModelConfig, settings)))
        codecs[1].load_state_dict(codecs[0].state_dict())
        found |= {codec.fingerprint for codec in codecs}
    assert len(found) == 4


def test_fingerprint_of_models_that_are_there_stays(tiny_codec: Codec) -> None:
    """Files of tokens carry it: this value is that of the first version."""
    with torch.no_grad():
        for value in tiny_codec.state_dict().values():
            value.fill_(0.5)
    assert tiny_codec.fingerprint == "2824aa0233dddff2"
    assert tiny_codec.token_fingerprint == "b503262615d77272"


def test_a_setting_that_a_later_version_adds_does_not_rename_models(tiny_codec: Codec) -> None:
    class Later(ModelConfig):
        more: int = 3

    before, fields = tiny_codec.fingerprint, dict(tiny_codec.config)
    tiny_codec.config = Later(**fields)
    assert tiny_codec.fingerprint == before
    tiny_codec.config = Later(**fields, more=4)
    assert tiny_codec.fingerprint != before
