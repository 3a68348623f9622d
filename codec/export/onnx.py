"""Writing the graphs as ONNX files, and comparing them with PyTorch before anybody uses them."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from codec.errors import CodecError
from codec.export.graphs import DecoderGraph, EncoderGraph
from codec.files import replacing, write_text
from codec.model import Codec

if TYPE_CHECKING:
    import onnxruntime

OPSET = 17
ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
FACTS_FILE = "codec.json"
AUDIO_TOLERANCE = 1e-4  # of full scale
EXAMPLE_FRAMES = 20


class Comparison(NamedTuple):
    """What onnxruntime gave beside what PyTorch gave."""

    tokens: int  # compared
    audio_difference: float  # largest of a sample, full scale is 1


def export_onnx(codec: Codec, output: Path, speech: Tensor) -> Comparison:
    """Write ``encoder.onnx``, ``decoder.onnx`` and ``codec.json`` once onnxruntime gives what PyTorch gives.

    Length and batch are dynamic. Every row of a batch is as long as the others: a graph knows of no padding.

    Args:
        codec: in eval mode, on the CPU.
        output: folder.
        speech: (T,) real speech at the codec's rate, at least two seconds of it, for the comparison.

    Raises:
        CodecError: onnx or onnxruntime is not installed, the bottleneck is no search for the nearest code, the graphs
            give other tokens or other audio than PyTorch, or a place that cannot be written; nothing is written then.
    """
    _libraries()
    codec = codec.eval()
    if len(speech) < 2 * codec.sample_rate:
        raise CodecError(
            f"{len(speech) / codec.sample_rate:.2f} s of speech for the comparison; give a recording of at least 2 s"
        )
    tokens = codec.encode(speech[: EXAMPLE_FRAMES * codec.hop_length]).tokens
    audio = speech[: EXAMPLE_FRAMES * codec.hop_length - 5].unsqueeze(0)
    with replacing(output / ENCODER_FILE) as encoder, replacing(output / DECODER_FILE) as decoder:
        _write(EncoderGraph(codec), audio, encoder, ("audio", "samples"), ("tokens", "frames"))
        _write(DecoderGraph(codec), tokens, decoder, ("tokens", "frames"), ("audio", "samples"))
        comparison = compare(codec, encoder, decoder, speech)
    facts = {
        "sample_rate": codec.sample_rate,
        "hop_length": codec.hop_length,
        "codebook_size": codec.codebook_size,
        "fingerprint": codec.fingerprint,
        "opset": OPSET,
    }
    write_text(output / FACTS_FILE, json.dumps(facts, indent=2) + "\n")
    return comparison


def compare(codec: Codec, encoder: Path, decoder: Path, speech: Tensor) -> Comparison:
    """Run both graphs on real speech of several lengths and in a batch, beside PyTorch.

    Raises:
        CodecError: a token differs, or a sample by more than 1e-4.
    """
    encode, decode = _session(encoder), _session(decoder)
    hop = codec.hop_length
    second = codec.sample_rate
    items = [speech[start : start + length] for start, length in ((second, 1), (second, hop - 1), (0, 7 * hop + 13))]
    rows = [item.unsqueeze(0) for item in (*items, speech)]
    rows.append(torch.stack([speech[:second], speech[-second:]]))  # (2, T)
    count, difference = 0, 0.0
    for audio in rows:
        expected = codec.encode(audio).tokens
        tokens = torch.from_numpy(encode.run(None, {"audio": audio.numpy()})[0])
        differ = int((tokens != expected).sum()) if tokens.shape == expected.shape else expected.numel()
        if differ:
            raise CodecError(
                f"the exported encoder gives other tokens than PyTorch: {differ} of {expected.numel()} for "
                f"{audio.shape[-1]} samples; only a bottleneck that searches the nearest code can be exported"
            )
        waveform = torch.from_numpy(decode.run(None, {"tokens": expected.numpy()})[0])
        difference = max(difference, float((waveform - codec.decode(expected)[:, 0]).abs().max()))
        if not difference <= AUDIO_TOLERANCE:  # NaN too
            raise CodecError(
                f"the exported decoder's audio differs by {difference:.2g} from PyTorch's for {expected.shape[-1]} "
                f"tokens; at most {AUDIO_TOLERANCE:g} is right. Please report it with the model's config.json"
            )
        count += expected.numel()
    return Comparison(count, difference)


def _write(graph: nn.Module, example: Tensor, path: Path, takes: tuple[str, str], gives: tuple[str, str]) -> None:
    """``takes`` and ``gives``: name and name of the second axis; the first is the batch."""
    with torch.no_grad(), _quiet():
        torch.onnx.export(
            graph.eval(),
            (example,),
            str(path),
            dynamo=False,  # the tracer: the newer exporter fixes lengths where padding depends on them
            opset_version=OPSET,
            input_names=[takes[0]],
            output_names=[gives[0]],
            dynamic_axes={name: {0: "batch", 1: axis} for name, axis in (takes, gives)},
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's warnings: the comparison tells what they could only suspect."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _libraries() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise CodecError(f"export needs {error.name}; install it: pip install 'simvq-codec[export]'") from None
    return onnxruntime


def _session(path: Path) -> onnxruntime.InferenceSession:
    return _libraries().InferenceSession(str(path), providers=["CPUExecutionProvider"])
