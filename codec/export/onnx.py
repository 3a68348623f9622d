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

from codec.errors import CodecError, how_to_install
from codec.export.graphs import DecoderGraph, EncoderGraph, code_vectors
from codec.files import replacing, write_text
from codec.model import Codec

if TYPE_CHECKING:
    import onnxruntime

OPSET = 17
ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
FACTS_FILE = "codec.json"
AUDIO_TOLERANCE = 1e-4  # of full scale
# Of (|latent| + |code|)^2: squared distances nearer than this are one to float32, whose latents differ by rounding too.
ROUNDING = 1e-5
EXAMPLE_FRAMES = 20


class Comparison(NamedTuple):
    """What onnxruntime gave beside what PyTorch gave."""

    tokens: int  # compared
    audio_difference: float  # largest of a sample, full scale is 1
    ties: int = 0  # of the tokens, those that differ where two codes are equally near up to rounding


def export_onnx(codec: Codec, output: Path, speech: Tensor) -> Comparison:
    """Write ``encoder.onnx``, ``decoder.onnx`` and ``codec.json`` once onnxruntime gives what PyTorch gives.

    Length and batch are dynamic. Every row of a batch is as long as the others: a graph knows of no padding.

    Args:
        codec: in eval mode, on the CPU.
        output: folder.
        speech: (T,) real speech at the codec's rate, at least two seconds of it, for the comparison.

    Raises:
        CodecError: a codec on another device, onnx or onnxruntime is not installed, the encoder has a transformer, the
            bottleneck is no search for the nearest code, the graphs do not run or give other tokens or other audio than
            PyTorch, or a place that cannot be written; nothing is written then.
    """
    if codec.device.type != "cpu":
        raise CodecError(f"a codec on {codec.device}: graphs are written from one on the CPU; give codec.cpu()")
    _libraries()
    if layers := codec.config.encoder.transformer.layers:
        # The tracer would write down the windows of the example, for signals of its length alone.
        raise CodecError(
            f"model.encoder.transformer.layers={layers}: a transformer's windows do not become a graph for every "
            "length; only codecs without one (layers=0) can be exported"
        )
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
        "token_fingerprint": codec.token_fingerprint,
        "opset": OPSET,
    }
    write_text(output / FACTS_FILE, json.dumps(facts, indent=2) + "\n")
    return comparison


def compare(codec: Codec, encoder: Path, decoder: Path, speech: Tensor) -> Comparison:
    """Run both graphs on real speech of several lengths and in a batch, beside PyTorch.

    Raises:
        CodecError: a graph does not run, a token differs where one code is nearer than the other, or a sample differs
            by more than 1e-4.
    """
    encode, decode = _session(encoder), _session(decoder)
    hop = codec.hop_length
    second = codec.sample_rate
    items = [speech[start : start + length] for start, length in ((second, 1), (second, hop - 1), (0, 7 * hop + 13))]
    rows = [item.unsqueeze(0) for item in (*items, speech)]
    rows.append(torch.stack([speech[:second], speech[-second:]]))  # (2, T)
    count, ties, difference = 0, 0, 0.0
    for audio in rows:
        expected = codec.encode(audio).tokens
        tokens = _run(encode, encoder, "audio", audio)
        alike = tokens.shape == expected.shape
        differ = int((tokens != expected).sum()) if alike else expected.numel()
        if differ and not (alike and _equally_near(codec, audio, tokens, expected)):
            raise CodecError(
                f"the exported encoder gives other tokens than PyTorch: {differ} of {expected.numel()} for "
                f"{audio.shape[-1]} samples; only a bottleneck that searches the nearest code can be exported"
            )
        ties += differ
        waveform = _run(decode, decoder, "tokens", expected)
        difference = max(difference, float((waveform - codec.decode(expected)[:, 0]).abs().max()))
        if not difference <= AUDIO_TOLERANCE:  # NaN too
            raise CodecError(
                f"the exported decoder's audio differs by {difference:.2g} from PyTorch's for {expected.shape[-1]} "
                f"tokens; at most {AUDIO_TOLERANCE:g} is right. Please report it with the model's config.json"
            )
        count += expected.numel()
    return Comparison(count, difference, ties)


@torch.no_grad()
def _equally_near(codec: Codec, audio: Tensor, tokens: Tensor, expected: Tensor) -> bool:
    """Whether two searches (B, F) that differ chose codes whose distances from the latent differ by rounding alone."""
    latent = codec.inference.latents(codec.encoder, audio.unsqueeze(1)).transpose(1, 2)  # (B, F, D)
    differ = tokens != expected
    rows, codes = latent[differ].double(), code_vectors(codec).double()  # (n, D), (K, D)
    one, other = codes[tokens[differ]], codes[expected[differ]]
    apart = ((rows - one).square().sum(dim=-1) - (rows - other).square().sum(dim=-1)).abs()
    scale = (rows.norm(dim=-1) + torch.maximum(one.norm(dim=-1), other.norm(dim=-1))).square()
    return bool((apart <= ROUNDING * scale).all())


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
        package = (error.name or "onnx").partition(".")[0]
        raise CodecError(f"export needs {package}; {how_to_install(package, 'export')}") from None
    return onnxruntime


def _session(path: Path) -> onnxruntime.InferenceSession:
    runtime = _libraries()
    with _runtime_errors_explained(path):
        return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, path: Path, name: str, value: Tensor) -> Tensor:
    with _runtime_errors_explained(path):
        return torch.from_numpy(session.run(None, {name: value.numpy()})[0])


@contextmanager
def _runtime_errors_explained(path: Path) -> Iterator[None]:
    """onnxruntime's errors, which have no base class of their own, in one line."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds: tuple[type[Exception], ...] = (RuntimeError, ValueError)
    kinds += tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    try:
        yield
    except kinds as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CodecError(
            f"onnxruntime cannot run the exported {'encoder' if 'encoder' in path.name else 'decoder'} ({reason}); "
            "please report it with the model's config.json"
        ) from None
