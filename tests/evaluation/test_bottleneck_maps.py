"""Maps of codes: the plane is that of the largest variance, and every use is in it."""

from __future__ import annotations

import json

import torch

from codec.config import BSQConfig, VQConfig
from codec.evaluation.bottlenecks.maps import POINTS, CodeMap, code_map, draw_maps
from codec.quantizers import build_quantizer


def test_the_plane_holds_what_varies_most_and_all_uses() -> None:
    quantizer = build_quantizer(5, VQConfig(codebook_size=50)).eval()
    spread = torch.tensor([0.1, 5.0, 0.2, 3.0, 0.1])
    codes = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)) * spread
    with torch.no_grad():
        quantizer.codebook.copy_(codes)
    tokens = torch.tensor([[7, 7, 7], [3, 3, 9]])
    found = code_map(quantizer, tokens)
    assert found.points.shape == (50, 2) and found.uses.tolist() == [3, 2, 1] + [0] * 47
    assert 0.98 < found.share <= 1
    # Distances between codes are those in the two wide dimensions.
    order = torch.tensor([7, 3, 9])
    flat = torch.pdist(torch.from_numpy(found.points[:3]).float())
    torch.testing.assert_close(flat, torch.pdist(codes[order][:, [1, 3]]), rtol=0.1, atol=0.2)


def test_used_codes_are_all_there_where_not_every_code_fits() -> None:
    quantizer = build_quantizer(6, BSQConfig(codebook_size=2**24)).eval()
    tokens = torch.arange(0, 2**24, 2**16)
    found = code_map(quantizer, tokens)
    assert len(found.points) == POINTS and int((found.uses > 0).sum()) == len(tokens)


def test_one_dimension_and_one_code() -> None:
    for dim, size in ((1, 8), (4, 1)):
        found = code_map(build_quantizer(dim, VQConfig(codebook_size=size)).eval(), torch.zeros(3, dtype=torch.int64))
        assert found.points.shape == (size, 2) and found.share == 1 and found.uses[0] == 3


def test_maps_survive_a_file_and_are_drawn() -> None:
    found = code_map(build_quantizer(4, VQConfig(codebook_size=16)).eval(), torch.tensor([1, 2, 2]))
    back = CodeMap.from_json(json.loads(json.dumps(found.to_json())))
    assert back.uses.tolist() == found.uses.tolist() and abs(back.points - found.points).max() < 1e-4
    assert draw_maps([("vq", back)] * 7).startswith(b"\x89PNG")
