"""What the tests of token datasets compare with."""

from __future__ import annotations

import codec.audio as audio_io
from codec import Codec
from codec.manifest import Utterance

IDS = ("a", "b/with/slash", "c.d.e", "Äpfel und 梨", "e%2F", "f", "g")


def encoded_alone(codec: Codec, utterance: Utterance) -> list[int]:
    tokens: list[int] = codec.encode(audio_io.load(utterance.path, 24_000)).tokens[0].tolist()
    return tokens
