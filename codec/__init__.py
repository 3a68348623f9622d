"""Single-codebook neural speech codecs around SimVQ.

>>> from codec import Codec
>>> codec = Codec.from_pretrained("simvq-24khz-0.9kbps")
>>> tokens = codec.encode(audio, sample_rate=16_000)
>>> back = codec.decode(tokens)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codec.config import ModelConfig, RunConfig, load_run_config, preset
from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.model import Codec, Tokens
    from codec.tokenstore import TokenDataset

__version__ = "0.1.0"
__all__ = ["Codec", "CodecError", "ModelConfig", "RunConfig", "TokenDataset", "Tokens", "load_run_config", "preset"]


def __getattr__(name: str) -> Any:
    # The model brings torch, two seconds that `codec --help` or reading a .svq file's header should not take.
    if name in ("Codec", "Tokens"):
        from codec import model

        return getattr(model, name)
    if name == "TokenDataset":
        from codec.tokenstore import TokenDataset

        return TokenDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
