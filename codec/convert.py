"""Published checkpoints to our format. The only place that knows the published names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.config import DecoderConfig, EncoderConfig, ModelConfig, SimVQConfig
from codec.errors import CodecError
from codec.model import Codec
from codec.pretrained import load_weights
from codec.torch_files import read_torch_file

USED_PARTS = ("encoder.", "quantize.", "backbone.", "head.")
AVERAGED = "model_ema."

# Published name -> ours, tried in order. {n} stands for a number that is kept, or mapped where a rule says so.
_ENCODER_TAIL_RULES = (
    (r"conv\.conv\.weight_g", "conv.parametrizations.weight.original0"),
    (r"conv\.conv\.weight_v", "conv.parametrizations.weight.original1"),
    (r"conv\.conv\.bias", "conv.bias"),
)
_MIXER_NAMES = {"q": "query", "k": "key", "v": "value", "proj_out": "out"}
_CONVNEXT_NAMES = {"dwconv": "depthwise", "pwconv1": "expand", "pwconv2": "contract"}


def convert_simvq(checkpoint: Path, output: Path) -> None:
    """Read a published SimVQ audio checkpoint (Lightning) and write our model folder.

    The averaged copies (``model_ema.*``) are preferred over the last weights, as the published evaluation does; the
    SEANet decoder that is never called and the discriminators are dropped.

    Raises:
        CodecError: not a checkpoint, truncated, holding more than tensors and plain values, or without the parts of a
            SimVQ audio model.
    """
    state = simvq_weights(read_checkpoint(checkpoint), str(checkpoint))
    weights = {rename_simvq(name): value for name, value in state.items()}
    _write(simvq_config(state), weights, checkpoint, output)


def convert_wavtokenizer(checkpoint: Path, output: Path, bandwidth_id: int = 0) -> None:
    """Read a published WavTokenizer checkpoint (Lightning, arXiv 2408.16532) and write our model folder.

    Its encoder is the same with ``causal`` off. Its backbone's layer norms take scale and shift from a table of four
    bandwidths, of which use is fixed to one; that row becomes the norm's own weight and bias. Its codebook is learned
    by averages and used as it is: C behind W = I. Strides follow from the kernels, so the models of 75 and of 40 tokens
    a second both convert. EnCodec's decoder, which is never called, and the discriminators are dropped.

    Raises:
        CodecError: as :func:`convert_simvq`, or a ``bandwidth_id`` that the tables do not have.
    """
    state = _state_dict(read_checkpoint(checkpoint), str(checkpoint), "WavTokenizer")
    weights = wavtokenizer_weights(state, str(checkpoint), bandwidth_id)
    _write(wavtokenizer_config(weights), weights, checkpoint, output)


def convert_published(checkpoint: Path, output: Path) -> None:
    """As :func:`convert_simvq` or :func:`convert_wavtokenizer`, whichever the names of the weights ask for.

    Raises:
        CodecError: as those two.
    """
    state = _state_dict(read_checkpoint(checkpoint), str(checkpoint), "SimVQ or WavTokenizer")
    convert = convert_wavtokenizer if any(str(name).startswith(_ENCODEC) for name in state) else convert_simvq
    convert(checkpoint, output)


def _write(config: ModelConfig, weights: Mapping[str, Tensor], checkpoint: Path, output: Path) -> None:
    with torch.device("meta"):
        codec = Codec(config)
    load_weights(codec, dict(weights), str(checkpoint))
    codec.save_pretrained(output)


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """A checkpoint of tensors and plain values; nothing in it can run code.

    Raises:
        CodecError: missing, not a checkpoint, truncated, or holding other objects.
    """
    if not path.is_file():
        raise CodecError(f"{path}: no such file; give the checkpoint that the authors published")
    loaded = read_torch_file(path, "download it again")
    if not isinstance(loaded, Mapping):
        raise CodecError(f"{path}: holds a {type(loaded).__name__}, expected a checkpoint with 'state_dict'")
    return loaded


def _state_dict(checkpoint: Mapping[str, Any], where: str, system: str) -> Mapping[str, Any]:
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        keys = ", ".join(list(map(str, checkpoint))[:5])
        raise CodecError(f"{where}: no 'state_dict' (found: {keys}); expected a Lightning checkpoint of {system}")
    return state


def simvq_weights(checkpoint: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The weights used at inference, under their published names, averaged copies preferred.

    Raises:
        CodecError: no ``state_dict`` or no SimVQ audio model in it.
    """
    state = _state_dict(checkpoint, where, "SimVQ")
    weights = {}
    for name, value in state.items():
        if str(name).startswith(USED_PARTS):
            averaged = state.get(AVERAGED + name.replace(".", ""))  # the average is stored without the dots
            weights[name] = value if averaged is None else averaged
            if not isinstance(weights[name], Tensor):
                raise CodecError(f"{where}: {name} is no tensor; expected a Lightning checkpoint of SimVQ")
    missing = [part.rstrip(".") for part in USED_PARTS if not any(name.startswith(part) for name in weights)]
    if missing:
        raise CodecError(f"{where}: not a SimVQ audio model: nothing named {', '.join(missing)} in its state_dict")
    return weights


def simvq_config(weights: Mapping[str, Tensor]) -> ModelConfig:
    """Settings of a published SimVQ audio model. Only the codebook's size differs between the released ones."""
    codebook = weights.get("quantize.embedding.weight")
    if codebook is None or codebook.ndim != 2 or codebook.numel() == 0:
        raise CodecError("quantize.embedding.weight is missing, empty or not a matrix: not a SimVQ audio model")
    size, dim = codebook.shape
    return ModelConfig(
        encoder=EncoderConfig(latent_dim=dim),
        quantizer=SimVQConfig(codebook_size=size, bias="quantize.embedding_proj.bias" in weights),
        decoder=DecoderConfig(),
    )


def rename_simvq(name: str) -> str:
    """Published SimVQ name of a weight -> ours.

    Raises:
        CodecError: a name that the published model does not have.
    """
    part, _, rest = name.partition(".")
    renamed = {
        "encoder": _rename_encoder,
        "quantize": _rename_quantizer,
        "backbone": _rename_backbone,
        "head": _rename_head,
    }
    ours = renamed[part](rest) if part in renamed else None
    if ours is None:
        raise CodecError(
            f"{name}: not a weight of the published SimVQ audio model; is this another model's checkpoint?"
        )
    return ours


_ENCODEC = "feature_extractor.encodec."
_WAVTOKENIZER_CODEBOOK = f"{_ENCODEC}quantizer.vq.layers.0._codebook.embed"


def wavtokenizer_weights(state: Mapping[str, Any], where: str, bandwidth_id: int = 0) -> dict[str, Tensor]:
    """The weights of a published WavTokenizer used at inference, under our names.

    Raises:
        CodecError: parts of WavTokenizer are missing or no tensors, or the tables have no row ``bandwidth_id``.
    """
    used = {
        str(name): value
        for name, value in state.items()
        if str(name).startswith((f"{_ENCODEC}encoder.", "backbone.", "head.")) or name == _WAVTOKENIZER_CODEBOOK
    }
    for name, value in used.items():
        if not isinstance(value, Tensor):
            raise CodecError(f"{where}: {name} is no tensor; expected a Lightning checkpoint of WavTokenizer")
    codebook = used.pop(_WAVTOKENIZER_CODEBOOK, None)
    if codebook is None or codebook.ndim != 2 or codebook.numel() == 0:
        raise CodecError(f"{where}: no codebook named {_WAVTOKENIZER_CODEBOOK}: not a WavTokenizer model")
    weights = {"quantizer.codebook": codebook, "quantizer.projection.weight": torch.eye(codebook.shape[1])}
    for name, value in used.items():
        table = re.fullmatch(r"(.*norm)\.(scale|shift)\.weight", name)
        if table:
            if not 0 <= bandwidth_id < len(value):
                raise CodecError(f"{where}: bandwidth_id={bandwidth_id}: {name} has rows 0 to {len(value) - 1}")
            name = f"{table[1]}.{'weight' if table[2] == 'scale' else 'bias'}"
            value = value[bandwidth_id]
        weights[rename_simvq(name.removeprefix(_ENCODEC))] = value
    return weights


def wavtokenizer_config(weights: Mapping[str, Tensor]) -> ModelConfig:
    """Settings of a published WavTokenizer, from the shapes of its weights under our names."""
    size, dim = weights["quantizer.codebook"].shape
    kernels = [
        weights.get(f"encoder.stages.{stage}.downsample.conv.parametrizations.weight.original1") for stage in range(4)
    ]
    head = weights.get("decoder.head.out.bias")
    if head is None or any(kernel is None for kernel in kernels):
        raise CodecError("encoder or head is missing in the checkpoint: not a WavTokenizer model")
    strides = tuple(kernel.shape[-1] // 2 for kernel in kernels if kernel is not None)  # kernels span two strides
    return ModelConfig(
        encoder=EncoderConfig(latent_dim=dim, strides=strides, causal=False),
        quantizer=SimVQConfig(codebook_size=size, bias=False),
        decoder=DecoderConfig(n_fft=len(head) - 2),
    )


def _rename_encoder(rest: str) -> str | None:
    """model.{n}: 0 stem; 1, 4, 7, 10 residual unit; 3, 6, 9, 12 down-sampling; 13 LSTM; 15 output."""
    match = re.fullmatch(r"model\.(\d+)\.(.+)", rest)
    if not match:
        return None
    index, tail = int(match.group(1)), match.group(2)
    if index == 13:
        return f"encoder.lstm.{tail}"
    for pattern, replacement in _ENCODER_TAIL_RULES:
        tail = re.sub(pattern + "$", replacement, tail)
    stage = (index - 1) // 3
    if index == 0:
        return f"encoder.stem.{tail}"
    if index == 15:
        return f"encoder.out.{tail}"
    if index % 3 == 0:
        return f"encoder.stages.{stage}.downsample.{tail}"
    if index % 3 == 1:
        return f"encoder.stages.{stage}.units.0.{tail}"
    return None


def _rename_quantizer(rest: str) -> str | None:
    names = {
        "embedding.weight": "codebook",
        "embedding_proj.weight": "projection.weight",
        "embedding_proj.bias": "projection.bias",
    }
    return f"quantizer.{names[rest]}" if rest in names else None


def _rename_backbone(rest: str) -> str | None:
    words = rest.split(".")
    if words[0] == "pos_net" and len(words) >= 3:
        inner = [_MIXER_NAMES.get(word, word) for word in words[2:]]
        return ".".join(["decoder.backbone.mixer", words[1], *inner])
    if words[0] == "convnext" and len(words) >= 3:
        if words[2:] == ["gamma"]:
            return f"decoder.backbone.blocks.{words[1]}.scale"
        inner = [_CONVNEXT_NAMES.get(word, word) for word in words[2:]]
        return ".".join(["decoder.backbone.blocks", words[1], *inner])
    plain = {"embed": "embed", "norm": "norm", "final_layer_norm": "final_norm"}
    return f"decoder.backbone.{plain[words[0]]}.{words[1]}" if words[0] in plain and len(words) == 2 else None


def _rename_head(rest: str) -> str | None:
    names = {"out.weight": "out.weight", "out.bias": "out.bias", "istft.window": "window"}
    return f"decoder.head.{names[rest]}" if rest in names else None


def rename_discriminators(names: Iterable[str]) -> dict[str, str]:
    """Published discriminator names (``multiperioddisc.*``, ``multiresddisc.*``, ``dac.*``) -> ours.

    Ours are those of :class:`codec.training.discriminators.Discriminators`. Published checkpoints keep them, so that a
    published model can go on training against its own discriminators.
    """
    renamed = {}
    for name in names:
        ours = name.replace("weight_g", "parametrizations.weight.original0")
        ours = ours.replace("weight_v", "parametrizations.weight.original1")
        ours = re.sub(r"^multiperioddisc\.discriminators\.", "period.members.", ours)
        ours = re.sub(r"^multiresddisc\.discriminators\.", "resolution.members.", ours)
        ours = re.sub(r"^dac\.discriminators\.", "dac.members.", ours)
        # DAC's convolutions stand in a Sequential with their activation: one number more.
        ours = re.sub(r"(convs\.\d+|band_convs\.\d+\.\d+)\.0\.(?=bias|param)", r"\1.", ours)
        ours = ours.replace("band_convs.", "bands.").replace("conv_post.", "out.")
        renamed[name] = ours
    return renamed
