"""Other sample rates and frame rates: settings that work from training to a file on disk."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from codec import Codec, CodecError, load_run_config
from codec.audio import resample
from codec.bitstream import TokenReader
from codec.config import RunConfig, build, merge
from codec.transcoding import Transcoder

CONFIGS = Path(__file__).parents[1] / "egs" / "libritts" / "conf" / "rates"
TINY = [
    "model.encoder.channels=2",
    "model.encoder.latent_dim=8",
    "model.encoder.lstm_layers=1",
    "model.encoder.init_gain=1.3",
    "model.quantizer.codebook_size=64",
    "model.decoder={dim: 32, hidden_dim: 32, layers: 1, residual_blocks: 1, group_norm_groups: 8}",
]
RATES = [
    ("simvq_16khz_50hz", 16_000, 50, 300),
    ("simvq_24khz_40hz", 24_000, 40, 240),
    ("simvq_48khz_75hz", 48_000, 75, 450),
]


@pytest.mark.parametrize(("name", "rate", "frame_rate", "bitrate_bps"), RATES)
def test_a_codec_of_another_rate(name: str, rate: int, frame_rate: int, bitrate_bps: int, speech: Tensor) -> None:
    config = load_run_config(CONFIGS / f"{name}.yaml", TINY).model
    torch.manual_seed(0)
    codec = Codec(config).eval()
    hop = rate // frame_rate
    assert (codec.sample_rate, codec.hop_length, codec.frame_rate) == (rate, hop, frame_rate)
    assert codec.bitrate_bps == bitrate_bps
    assert config.decoder.n_fft == 4 * hop
    audio = resample(speech, 24_000, rate)
    for T in (1, hop - 1, hop, hop + 1, 7 * hop + 13, len(audio)):
        tokens = codec.encode(audio[:T])
        assert tokens.tokens.shape == (1, math.ceil(T / hop))
        assert codec.decode(tokens).shape == (1, 1, T)
    assert codec.encode(speech, sample_rate=24_000).lengths.tolist() == [len(audio)]


@pytest.mark.parametrize(("name", "rate", "frame_rate", "bitrate_bps"), RATES)
def test_a_file_of_another_rate(
    name: str, rate: int, frame_rate: int, bitrate_bps: int, speech_path: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    codec = Codec(load_run_config(CONFIGS / f"{name}.yaml", TINY).model).eval()
    transcoder = Transcoder(codec)
    facts = transcoder.encode_file(speech_path, tmp_path / "a.svq")
    header = TokenReader(io.BytesIO((tmp_path / "a.svq").read_bytes())).header
    assert (header.sample_rate, header.frame_rate) == (rate, frame_rate)
    assert facts.tokens == math.ceil(facts.duration_s * frame_rate)
    assert 8 * facts.num_bytes / facts.duration_s < 1.5 * bitrate_bps  # a few seconds: the header weighs most
    assert transcoder.decode_file(tmp_path / "a.svq", tmp_path / "a.wav").duration_s == facts.duration_s


def test_an_odd_hop(speech: Tensor) -> None:
    """50 tokens a second at 22.05 kHz are 441 samples each."""
    strides = ["model.sample_rate=22050", "model.encoder.strides=[7, 7, 3, 3]"]
    config = load_run_config(CONFIGS / "simvq_24khz_40hz.yaml", [*TINY, *strides]).model
    assert (config.hop_length, config.decoder.n_fft) == (441, 1764)
    torch.manual_seed(0)
    codec = Codec(config).eval()
    audio = resample(speech, 24_000, 22_050)
    for T in (1, 440, 441, 442, 7 * 441 + 13):
        assert codec.decode(codec.encode(audio[:T])).shape == (1, 1, T)
    batch = codec.encode([audio[:20_000], audio[:4_410]])  # the second through the decoder's masked path
    alone = codec.decode(codec.encode(audio[:4_410]))[0, 0]
    torch.testing.assert_close(codec.decode(batch)[1, 0, :4_410], alone, rtol=0, atol=1e-5)
    with pytest.raises(CodecError, match=r"decoder.n_fft=1323 must be .* and even; try 1764"):
        load_run_config(CONFIGS / "simvq_24khz_40hz.yaml", [*TINY, *strides, "model.decoder.n_fft=1323"])


def test_transforms_follow_the_rate_where_nothing_is_said() -> None:
    published = build(RunConfig, {})
    assert published.losses.mel_scales[0].n_fft == 1024
    low = load_run_config(CONFIGS / "simvq_16khz_50hz.yaml")
    assert low.discriminators.resolutions == ((512, 128, 512), (1024, 256, 1024), (256, 64, 256))
    assert low.discriminators.dac_fft_sizes == (1024, 512, 256)
    scale = low.losses.mel_scales[0]
    assert (scale.n_fft, scale.hop_length, scale.n_mels) == (512, 128, 87)
    high = load_run_config(CONFIGS / "simvq_48khz_75hz.yaml")
    assert high.losses.mel_scales[0].n_fft == 2048
    assert high.discriminators.resolutions[0] == (2048, 512, 2048)
    same = load_run_config(CONFIGS / "simvq_24khz_40hz.yaml")
    assert (same.losses, same.discriminators) == (published.losses, published.discriminators)
    own = load_run_config(
        CONFIGS / "simvq_16khz_50hz.yaml", ["losses.mel_scales=[{n_fft: 640}]", "model.decoder.n_fft=640"]
    )
    assert own.losses.mel_scales[0].n_fft == 640
    assert own.model.decoder.n_fft == 640
    assert own.discriminators == low.discriminators


def test_settings_that_are_written_down_are_read_as_they_are() -> None:
    low = load_run_config(CONFIGS / "simvq_16khz_50hz.yaml")
    assert build(RunConfig, merge({}, low.model_dump(mode="json"))) == low
