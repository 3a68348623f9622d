"""What most tests run on: a codec of a few thousand weights, and where real speech is."""

from __future__ import annotations

from pathlib import Path

from codec import ModelConfig
from codec.config import build

CORPUS = Path(__file__).parents[1] / "egs" / "mini" / "corpus"

TINY = build(
    ModelConfig,
    {
        # Without the gain the untrained encoder would use one or two codes, and no test would notice wrong tokens.
        "encoder": {"channels": 4, "strides": [8, 5, 4, 2], "latent_dim": 16, "lstm_layers": 1, "init_gain": 1.3},
        "quantizer": {"codebook_size": 64},
        "decoder": {
            "dim": 32,
            "hidden_dim": 48,
            "layers": 1,
            "residual_blocks": 1,
            "group_norm_groups": 8,
            "dropout": 0.0,
        },
    },
)
