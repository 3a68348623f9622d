"""Networks of the real classes, but tiny (UTMOS: as it is) and random, saved as their authors save them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from torch import Tensor
from utmos_pytorch.utmos_torch import UTMOSModel

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N", "'"]
# The real front end, narrow: 20 ms a frame at 16 kHz, of 25 ms.
SPEECH = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def save_recogniser(folder: Path, seed: int = 0) -> Path:
    """A HuBERT CTC recogniser of eleven symbols."""
    torch.manual_seed(seed)
    config = transformers.HubertConfig(**SPEECH, vocab_size=len(LETTERS), pad_token_id=0)
    network = transformers.HubertForCTC(config)
    with torch.no_grad():  # one symbol would win in every frame otherwise
        network.lm_head.weight.mul_(40)
    network.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(LETTERS)}))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    return folder


def save_speaker_network(folder: Path, seed: int = 0) -> Path:
    """WavLM with an x-vector head."""
    torch.manual_seed(seed)
    config = transformers.WavLMConfig(**SPEECH, tdnn_dim=(16, 16, 16, 16, 24), xvector_output_dim=12)
    transformers.WavLMForXVector(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


def save_encodec(folder: Path, seed: int = 0) -> Path:
    """EnCodec of 75 frames a second and codebooks of 16: 4 bits, so 0.3 kbit/s each."""
    torch.manual_seed(seed)
    config = transformers.EncodecConfig(
        target_bandwidths=[0.3, 0.6, 1.2], num_filters=2, hidden_size=8, codebook_dim=8, codebook_size=16
    )
    return _save(transformers.EncodecModel(config), folder)


def save_dac(folder: Path, seed: int = 0, sampling_rate: int = 24_000) -> Path:
    """DAC of four codebooks of 16, 320 samples a frame."""
    torch.manual_seed(seed)
    ratios = {"downsampling_ratios": [2, 4, 5, 8], "upsampling_ratios": [8, 5, 4, 2]}
    sizes = {"encoder_hidden_size": 4, "hidden_size": 16, "decoder_hidden_size": 32, "codebook_dim": 4}
    config = transformers.DacConfig(**ratios, **sizes, sampling_rate=sampling_rate, n_codebooks=4, codebook_size=16)
    return _save(transformers.DacModel(config), folder)


def save_mimi(folder: Path, seed: int = 0) -> Path:
    """Mimi of four codebooks of 16, 12.5 frames a second."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_filters": 2, "codebook_dim": 8, "vector_quantization_hidden_dimension": 8}
    transformer = {"num_hidden_layers": 1, "intermediate_size": 32, "num_attention_heads": 2, "head_dim": 8}
    config = transformers.MimiConfig(
        **sizes, **transformer, num_key_value_heads=2, upsample_groups=16, num_quantizers=4, codebook_size=16
    )
    return _save(transformers.MimiModel(config), folder)


def _save(network: transformers.PreTrainedModel, folder: Path) -> Path:
    with torch.no_grad():
        for name, value in network.named_buffers():
            if name.endswith(("embed", "embed_sum")):  # codebooks that training would fill
                value.normal_()
    network.save_pretrained(folder)
    return folder


def save_utmos(path: Path, seed: int = 5) -> Path:
    """UTMOS, whole: the 224 tensors of the published file, in 2 MB instead of 413."""
    with torch.device("meta"):
        layout = {name: value.shape for name, value in UTMOSModel().state_dict().items()}
    assert len(layout) == 224
    generator = torch.Generator().manual_seed(seed)
    torch.save({name: _made_up(name, shape, generator) for name, shape in layout.items()}, path)
    return path


def _made_up(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Random numbers of any shape over few of their own: every stride is 1 or 3, so that the file stays small."""
    if len(shape) == 1:  # gains near 1 and biases near 0, or the input would not matter
        return 0.02 * torch.randn(shape, generator=generator) + (0.0 if "bias" in name else 1.0)
    strides = [3] * (len(shape) - 1) + [1]
    length = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    values = torch.randn(length, generator=generator) / shape[1:].numel() ** 0.5
    return values.as_strided(shape, strides)
