"""Which model a command uses: the one that is named, or the one that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from codec import bundled
from codec.cli.console import working
from codec.errors import CodecError

if TYPE_CHECKING:
    from codec import Codec
    from codec.folders import Task
    from codec.transcoding import Transcoder

Made = Callable[[], tuple[str, str]]  # what is to be decoded, and the fingerprint in it
Load = Callable[["Made | None"], "Transcoder"]  # :func:`load_transcoder`, all but the last settled


def load_model(
    model: str | None, device: str, made: Made | None = None, *, dtype: str = "float32", compile: bool = False
) -> tuple[Codec, str]:
    """A model, and what messages call it.

    Args:
        model: folder or name. None: of the models that ship the one that made what is to be decoded; without that the
            default one. A folder of its name is not looked at then.
        device: where it computes.
        made: asked for where no model is named.
        dtype: of the decoder's products.
        compile: the decoder by torch.compile.

    Raises:
        CodecError: no such model, device or ``dtype``; tokens of a model that does not ship.
    """
    from codec import Codec
    from codec.pretrained import bundled_folder

    place: str | Path
    if model is not None:
        name, place = model, model
    else:
        shipped = bundled.model_of_fingerprint(*made()) if made else bundled.default_model()
        name, place = shipped.name, bundled_folder(shipped)
    with working(f"loading {name}"):
        return Codec.from_pretrained(place, device, dtype=dtype, compile=compile), name


def load_transcoder(
    model: str | None,
    device: str,
    made: Made | None = None,
    *,
    dtype: str = "float32",
    compile: bool = False,
    window_s: float | None = None,
    channel: int | None = None,
) -> Transcoder:
    """:func:`load_model` for files; ``window_s``: of the decoder's windows, ``channel``: of the audio that is encoded.

    Raises:
        CodecError: what :func:`load_model` raises, or a window that holds no overlap.
    """
    from codec.streaming import DEFAULT_WINDOWS, Windows
    from codec.transcoding import Transcoder

    codec, name = load_model(model, device, made, dtype=dtype, compile=compile)
    windows = DEFAULT_WINDOWS if window_s is None else Windows.of(window_s)
    windows.sizes(codec)
    return Transcoder(codec, name, windows, channel)


def maker_of(tasks: list[Task]) -> Made | None:
    """The model of a folder of token files: that of the first that can be read; the others must be of the same."""
    from codec.bitstream import reading_tokens

    for task in tasks:
        try:
            with reading_tokens(task.source) as reader:
                found = str(task.source), reader.header.fingerprint
        except CodecError:
            continue  # decoding says what is wrong with it
        return lambda: found
    return None
