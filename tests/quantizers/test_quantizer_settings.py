"""Settings of every bottleneck: checked against the chosen system, read back as written."""

from __future__ import annotations

from typing import Any

import pytest
from contract_worker import SETTINGS, SYSTEMS

from codec.config import ModelConfig
from codec.config.base import build
from codec.errors import CodecError

every_system = pytest.mark.parametrize("system", SYSTEMS)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "simqv"}, "quantizer.name='simqv' is not known; did you mean simvq?"),
        ({"name": "xxxxxxxx"}, "quantizer.name='xxxxxxxx' is not known; known here: simvq, vq"),
        (
            {"name": "vq", "codebok_size": 3},
            "unknown setting quantizer.codebok_size; did you mean quantizer.codebook_size",
        ),
        ({"name": "vq", "bias": True}, "unknown setting quantizer.bias; known here: name, codebook_size, commitment"),
        ({"bais": True}, "unknown setting quantizer.bais; did you mean quantizer.bias?"),
        ({"name": "ema", "decay": 1.5}, "quantizer.decay=1.5: input should be less than 1"),
        ({"name": "huh", "affine_groups": 3}, "codebook_size=4096 is not divisible by quantizer.affine_groups=3"),
        ({"name": "fsq", "levels": [8, 5, 5, 5]}, "levels=[8, 5, 5, 5] make 1000 codes; set that"),
        ({"name": "fsq", "codebook_size": 1000}, "codebook_size=1000: expected a power of two from 4 on"),
        ({"name": "bsq", "codebook_size": 100}, "try 128"),
        ({"name": "residual", "codebook_size": 8192}, "such as 91^2 = 8281"),
        ({"name": "residual_simvq", "codebook_size": 8192}, "such as 91^2 = 8281"),
        ({"name": "qinco", "codebook_size": 1001, "codebooks": 3}, "such as 10^3 = 1000"),
        ({"name": "scvae", "codebook_size": 100}, "codebook_size=100 is not divisible by quantizer.gain_levels=16"),
        ({"name": "lfq", "codebook_size": 96}, "expected a power of two from 2 on (one bit a dimension); try 128"),
        (
            {"name": "bsq", "codebook_size": 1 << 32},
            "codebook_size=4294967296: a token has at most 31 bits",
        ),
        (
            {"name": "residual", "codebooks": 8, "codebook_size": 1024**8},
            "2147483648 codes (all codebooks, levels or bits",
        ),
        ({"codebook_size": 10**400}, "a token has at most 31 bits"),
        ({"codebook_size": 0}, "quantizer.codebook_size=0: input should be greater than 0"),
    ],
)
def test_settings_are_checked_against_the_chosen_system(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(CodecError) as error:
        build(ModelConfig, {"quantizer": settings})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_of_the_first_version_still_load() -> None:
    old = {
        "name": "simvq",
        "codebook_size": 512,
        "commitment": 0.25,
        "trainable_codebook": False,
        "codebook_init": "gaussian",
        "bias": False,
        "search_chunk": 4096,
    }
    config = build(ModelConfig, {"quantizer": old}).quantizer
    assert config.name == "simvq" and config.codebook_size == 512


@every_system
def test_settings_read_back_as_they_were_written(system: str) -> None:
    config = build(ModelConfig, {"quantizer": SETTINGS[system]})
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
