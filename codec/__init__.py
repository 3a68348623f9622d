"""Single-codebook neural speech codecs around SimVQ.

>>> from codec import Codec
>>> codec = Codec.from_pretrained("exp/mini/tiny/best")
>>> tokens = codec.encode(audio, sample_rate=16_000)
>>> back = codec.decode(tokens)
"""

from __future__ import annotations

from codec.config import ModelConfig, RunConfig, load_run_config, preset
from codec.errors import CodecError
from codec.model import Codec, Tokens

__version__ = "0.1.0"
__all__ = ["Codec", "CodecError", "ModelConfig", "RunConfig", "Tokens", "load_run_config", "preset"]
