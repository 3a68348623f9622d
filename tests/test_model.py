from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import codec.audio
from codec import Codec, CodecError, ModelConfig, preset
from codec.config import build
from codec.model import Tokens
from codec.streaming import decode_chunks, encode_chunks


@pytest.mark.parametrize("samples", [1, 2, 319, 320, 321, 4799, 24_000])
def test_length_is_restored_to_the_sample(tiny_codec: Codec, speech: torch.Tensor, samples: int) -> None:
    tokens = tiny_codec.encode(speech[:samples])
    assert tokens.tokens.shape == (1, -(-samples // 320))
    assert tokens.tokens.dtype == torch.int64
    assert tokens.lengths.tolist() == [samples]
    assert tiny_codec.decode(tokens).shape == (1, 1, samples)
    assert tiny_codec.decode(tokens.tokens).shape == (1, 1, -(-samples // 320) * 320)
    assert tiny_codec.decode(tokens.tokens, length=samples).shape == (1, 1, samples)


def test_shapes_of_audio_are_one_to_the_codec(tiny_codec: Codec, speech: torch.Tensor) -> None:
    flat = tiny_codec.encode(speech).tokens
    assert torch.equal(tiny_codec.encode(speech[None]).tokens, flat)
    assert torch.equal(tiny_codec.encode(speech[None, None]).tokens, flat)
    assert torch.equal(tiny_codec.decode(flat[0]), tiny_codec.decode(flat))


def test_a_padded_batch_gives_what_each_item_gives_alone(tiny_codec: Codec, speech: torch.Tensor) -> None:
    lengths = [9_999, 24_000, 9_999, 500]
    items = [speech[i * 100 : i * 100 + length] for i, length in enumerate(lengths)]
    batch = torch.full((4, 24_000), 0.3)  # padding that would be heard
    for row, item in enumerate(items):
        batch[row, : len(item)] = item
    together = tiny_codec.encode(batch, lengths=torch.tensor(lengths))
    audio = tiny_codec.decode(together)
    assert together.lengths.tolist() == lengths
    for row, item in enumerate(items):
        alone = tiny_codec.encode(item)
        frames = alone.tokens.shape[1]
        assert torch.equal(together.tokens[row, :frames], alone.tokens[0])
        assert not together.tokens[row, frames:].any()
        torch.testing.assert_close(audio[row, :, : len(item)], tiny_codec.decode(alone)[0], atol=1e-5, rtol=0)
        assert not audio[row, :, len(item) :].any()


def test_other_rates_are_resampled(tiny_codec: Codec, speech: torch.Tensor) -> None:
    tokens = tiny_codec.encode(speech[:16_001], sample_rate=16_000)
    assert tokens.lengths.tolist() == [24_002]  # ceil(16,001 * 1.5)
    assert tiny_codec.decode(tokens).shape == (1, 1, 24_002)


def test_facts() -> None:
    codec = Codec(preset("tiny"))
    assert (codec.sample_rate, codec.hop_length, codec.frame_rate) == (24_000, 320, 75)
    assert (codec.codebook_size, codec.bitrate_bps, codec.latent_dim) == (4096, 900, 128)
    assert codec.is_causal is False


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        (torch.zeros(0), "has no samples"),
        (torch.zeros(9).numpy(), "audio of type ndarray: expected a tensor; torch.from_numpy makes one of an array"),
        ([0.0, 0.1], "audio of type list: expected a tensor"),
        (torch.zeros(2, 2, 100), "expected (T,), (B, T) or (B, 1, T); down-mix"),
        (torch.zeros(1, 1, 1, 5), "expected (T,)"),
        (torch.zeros(100, dtype=torch.int16), "expected floats in [-1, 1]"),
        (torch.full((100,), torch.nan), "NaN or infinite"),
        (torch.full((100,), torch.inf), "NaN or infinite"),
    ],
)
def test_audio_that_cannot_be_encoded_is_refused(tiny_codec: Codec, audio: torch.Tensor, says: str) -> None:
    with pytest.raises(CodecError) as error:
        tiny_codec.encode(audio)
    assert says in str(error.value)


def test_whole_numbers_as_floats_are_noticed(
    tiny_codec: Codec, speech: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_codec.encode(3 * speech / speech.abs().max())
    assert not caplog.records
    tiny_codec.encode(speech * 32768)
    assert "expected [-1, 1], which 16-bit samples are in over 32768" in caplog.text


def test_channels_behind_samples_are_no_batch(tiny_codec: Codec, speech: torch.Tensor) -> None:
    """As soundfile reads stereo: it would be thousands of recordings of two samples."""
    with pytest.raises(
        CodecError, match=r"\(24000, 2\) would be 24000 recordings of 2 samples; .*audio\.mean\(dim=1\)"
    ):
        tiny_codec.encode(speech[:24_000, None].expand(-1, 2))
    assert tiny_codec.encode(speech[:320].view(40, 8)).tokens.shape == (40, 1)  # few may well be meant


def test_lengths_may_be_an_array(tiny_codec: Codec, speech: torch.Tensor) -> None:
    batch = speech[:6400].view(2, 3200)
    ours = tiny_codec.encode(batch, lengths=np.array([3200, 1000]))
    assert ours.lengths.tolist() == [3200, 1000]


@pytest.mark.parametrize("lengths", [[5], [0, 5], [5, 101]])
def test_lengths_outside_the_batch_are_refused(tiny_codec: Codec, lengths: list[int]) -> None:
    with pytest.raises(CodecError, match="expected 2 numbers from 1 to 100"):
        tiny_codec.encode(torch.zeros(2, 100), lengths=torch.tensor(lengths))


def test_lengths_and_rates_that_are_no_whole_numbers_are_refused(tiny_codec: Codec) -> None:
    audio = torch.zeros(2, 100)
    for lengths in (torch.tensor(5), torch.tensor([5.5, 6.0]), 5):
        with pytest.raises(CodecError, match=r"lengths=.*: expected one whole number for each item of the batch"):
            tiny_codec.encode(audio, lengths=lengths)
    assert tiny_codec.encode(audio, lengths=[5, 100]).lengths.tolist() == [5, 100]
    with pytest.raises(CodecError, match=r"sample_rate=16000\.0: expected whole Hz; give an int"):
        tiny_codec.encode(audio, sample_rate=16000.0)
    with pytest.raises(CodecError, match=r"length=5\.0: expected one whole number of samples"):
        tiny_codec.decode(torch.zeros(1, 2, dtype=torch.int64), length=5.0)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (torch.tensor([[0, 64]]), "tokens from 0 to 64: this model's codebook has 64 codes"),
        (torch.tensor([[-1, 3]]), "tokens from -1 to 3"),
        (torch.zeros(1, 4), "expected integers (B, F)"),
        (torch.tensor(3), "tokens of shape () and type torch.int64: expected integers (B, F)"),
        (torch.zeros(4, dtype=torch.int64).numpy(), "tokens of type ndarray: expected a tensor; torch.from_numpy"),
        (Tokens([[0, 1]], torch.tensor([640])), "tokens of type list: expected a tensor"),
        (Tokens(torch.zeros(1, 2, dtype=torch.int64), torch.tensor(640)), "expected one whole number for each item"),
        (torch.zeros(1, 4, dtype=torch.bool), "expected integers (B, F)"),
        (torch.zeros(1, 1, 4, dtype=torch.int64), "expected integers (B, F)"),
        (torch.zeros(1, 0, dtype=torch.int64), "no tokens"),
    ],
)
def test_tokens_that_cannot_be_decoded_are_refused(tiny_codec: Codec, tokens: torch.Tensor, says: str) -> None:
    with pytest.raises(CodecError) as error:
        tiny_codec.decode(tokens)
    assert says in str(error.value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.int16, torch.int32])
def test_tokens_may_be_of_any_integer_type(tiny_codec: Codec, dtype: torch.dtype) -> None:
    tokens = torch.arange(40).view(2, 20)
    assert torch.equal(tiny_codec.decode(tokens.to(dtype)), tiny_codec.decode(tokens))
    with pytest.raises(CodecError, match="tokens from 0 to 200"):
        tiny_codec.decode(torch.tensor([[0, 200]]).to(dtype))


@pytest.mark.parametrize("length", [0, 641, -5])
def test_a_length_beyond_the_tokens_is_refused(tiny_codec: Codec, length: int) -> None:
    with pytest.raises(CodecError, match="2 tokens hold 1 to 640 samples"):
        tiny_codec.decode(torch.zeros(1, 2, dtype=torch.int64), length=length)


@pytest.mark.parametrize("length", [1, 319, 320, 321, 9_999, 10_000, 24_000])
def test_a_length_gives_the_first_samples_of_the_decoding(tiny_codec: Codec, speech: torch.Tensor, length: int) -> None:
    batch = tiny_codec.encode(speech[:48_000].view(2, -1), lengths=torch.tensor([24_000, 9_999]))
    for tokens in (batch, batch.tokens, batch.tokens[0]):
        assert torch.equal(tiny_codec.decode(tokens, length=length), tiny_codec.decode(tokens)[..., :length])
    # Behind the encoded length there is nothing.
    short = Tokens(batch.tokens[1:, :32], batch.lengths[1:])
    longer = tiny_codec.decode(short, length=10_240)
    assert torch.equal(longer[..., :9_999], tiny_codec.decode(short)) and not longer[..., 9_999:].any()


@pytest.mark.parametrize("lengths", [[641], [0], [640, 640]])
def test_tokens_with_lengths_of_others_are_refused(tiny_codec: Codec, lengths: list[int]) -> None:
    with pytest.raises(CodecError, match="expected 1 numbers from 1 to 640, what the tokens hold"):
        tiny_codec.decode(Tokens(torch.zeros(1, 2, dtype=torch.int64), torch.tensor(lengths)))


def test_others_can_train_on_tokens_and_audio(tiny_codec: Codec, speech: torch.Tensor) -> None:
    tokens = tiny_codec.encode(speech)
    audio = tiny_codec.decode(tokens)
    assert not audio.requires_grad
    table, gain = torch.nn.Embedding(64, 2), torch.ones((), requires_grad=True)
    (table(tokens.tokens).sum() + (gain * audio).sum()).backward()
    assert table.weight.grad is not None and gain.grad is not None


def test_training_pass_reaches_every_weight(tiny_codec: Codec, speech: torch.Tensor) -> None:
    tiny_codec.train()
    output = tiny_codec(speech[:9_999].view(1, 1, -1))
    assert output.audio.shape == (1, 1, 9_999)
    (output.audio.square().mean() + output.quantizer.loss).backward()
    without = [name for name, p in tiny_codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_saved_model_is_the_same_model(tiny_codec: Codec, tiny_model_dir: Path, speech: torch.Tensor) -> None:
    assert sorted(path.name for path in tiny_model_dir.iterdir()) == ["config.json", "model.safetensors"]
    with torch.inference_mode():  # a caller's mode must not spoil the weights
        loaded = Codec.from_pretrained(tiny_model_dir, device="cpu")
    assert not loaded.training
    assert loaded.config == tiny_codec.config
    assert loaded.fingerprint == tiny_codec.fingerprint
    tokens = tiny_codec.encode(speech)
    assert torch.equal(loaded.encode(speech).tokens, tokens.tokens)
    assert torch.equal(loaded.decode(tokens), tiny_codec.decode(tokens))
    loaded(speech.view(1, 1, -1)).audio.sum().backward()  # and it can be trained on
    assert loaded.encoder.stem.conv.bias.grad is not None


def test_half_precision_weights_load_in_float32(tiny_model_dir: Path, speech: torch.Tensor) -> None:
    path = tiny_model_dir / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path)
    codec = Codec.from_pretrained(tiny_model_dir, device="cpu")
    assert {p.dtype for p in codec.parameters()} == {torch.float32}
    assert codec.decode(codec.encode(speech)).isfinite().all()


def _drop(name: str):
    def damage(directory: Path) -> None:
        (directory / name).unlink()

    return damage


def _truncate(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _lose_a_weight(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    del weights["decoder.head.out.bias"]
    save_file(weights, directory / "model.safetensors")


def _other_sizes(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    config["quantizer"]["codebook_size"] = 32
    (directory / "config.json").write_text(json.dumps(config))


def _unknown_setting(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    config["decoder"]["layer"] = 3
    (directory / "config.json").write_text(json.dumps(config))


def _not_json(directory: Path) -> None:
    (directory / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_drop("model.safetensors"), "model.safetensors: no such file; a model folder holds"),
        (_drop("config.json"), "config.json: cannot be read"),
        (_truncate, "damaged or not a safetensors file"),
        (_lose_a_weight, "1 missing (decoder.head.out.bias)"),
        (_other_sizes, "1 of another shape (quantizer.codebook (64, 16) instead of (32, 16))"),
        (_unknown_setting, "did you mean decoder.layers?"),
        (_not_json, "not JSON"),
    ],
)
def test_a_damaged_model_folder_is_refused(tiny_model_dir: Path, damage, says: str) -> None:
    damage(tiny_model_dir)
    with pytest.raises(CodecError) as error:
        Codec.from_pretrained(tiny_model_dir, device="cpu")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_folder_and_an_absent_device_are_named(tmp_path: Path, tiny_model_dir: Path) -> None:
    with pytest.raises(CodecError, match=r"no such model folder.*train one"):
        Codec.from_pretrained(tmp_path / "nothing")  # an absolute path is no hub name
    for device in ("warp", "cuda:77"):
        with pytest.raises(CodecError, match=r"cannot be used here.*use auto or cpu"):
            Codec.from_pretrained(tiny_model_dir, device=device)


@pytest.fixture
def hub_cache(tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache, off line, that holds someone/speech-codec."""
    import huggingface_hub.constants as constants

    repository = tmp_path / "hub" / "models--someone--speech-codec"
    (repository / "refs").mkdir(parents=True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(tiny_model_dir, repository / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_a_hub_name_is_looked_up_and_works_off_line(hub_cache: Path, tiny_codec: Codec) -> None:
    codec = Codec.from_pretrained("someone/speech-codec", device="cpu")
    assert codec.fingerprint == tiny_codec.fingerprint
    with pytest.raises(CodecError, match=r"someone/else: .* not on this machine yet.*check name and connection"):
        Codec.from_pretrained("someone/else")


def test_files_and_nothing_are_no_names(hub_cache: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub_cache / "sp.wav").write_bytes(b"RIFF")
    with pytest.raises(CodecError, match=r"hub/sp\.wav: is a file; give the folder of a model, or a name"):
        Codec.from_pretrained("hub/sp.wav")  # which could be a repository's name
    monkeypatch.chdir(tiny_model_dir)
    with pytest.raises(CodecError, match="the name of the model is empty"):
        Codec.from_pretrained("")
    assert Codec.from_pretrained(".", "cpu")


def test_other_rates_and_strides_are_settings(speech: torch.Tensor) -> None:
    config = build(
        ModelConfig,
        {
            "sample_rate": 16_000,
            "encoder": {"channels": 2, "strides": [4, 4, 4, 5], "latent_dim": 8, "lstm_layers": 0},
            "quantizer": {"codebook_size": 10},
            "decoder": {"dim": 64, "hidden_dim": 32, "layers": 1, "attention": False, "n_fft": 640},
        },
    )
    codec = Codec(config).eval()
    assert codec.frame_rate == 50
    tokens = codec.encode(speech, sample_rate=24_000)
    assert codec.decode(tokens).shape == (1, 1, 32_000)


@pytest.mark.parametrize("default", [torch.float64, torch.float16], ids=str)
def test_the_callers_default_type_changes_nothing(
    tiny_codec: Codec, tiny_model_dir: Path, speech: torch.Tensor, default: torch.dtype
) -> None:
    audio = torch.stack([speech[:9_600], speech[9_600:19_200]])
    lengths = torch.tensor([9_600, 5_000])
    tokens = tiny_codec.encode(audio, lengths=lengths)
    alone = tiny_codec.decode(tokens.tokens[0])[0, 0]
    expected, slower = tiny_codec.decode(tokens), codec.audio.resample(speech, 24_000, 16_000)
    torch.set_default_dtype(default)
    try:
        for model in (tiny_codec, Codec.from_pretrained(tiny_model_dir, "cpu")):
            assert torch.equal(model.encode(audio, lengths=lengths).tokens, tokens.tokens)
            assert torch.equal(model.decode(tokens), expected)
        chunks = torch.cat(list(encode_chunks(tiny_codec, audio[0].split(999))))
        assert torch.equal(chunks, tokens.tokens[0])
        assert torch.equal(torch.cat(list(decode_chunks(tiny_codec, [chunks]))), alone)
        assert torch.equal(codec.audio.resample(speech, 24_000, 16_000), slower)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_that_are_not_float32_are_refused(
    tiny_codec: Codec, tiny_model_dir: Path, speech: torch.Tensor, dtype: torch.dtype
) -> None:
    other = copy.deepcopy(tiny_codec).to(dtype)
    for use in (lambda: other.encode(speech), lambda: other.decode(torch.zeros(3, dtype=torch.int64))):
        with pytest.raises(CodecError, match=rf"weights are {dtype}: .* call \.float\(\)"):
            use()
    faster = Codec.from_pretrained(tiny_model_dir, "cpu", dtype=torch.bfloat16)  # torch's own, or by name
    assert faster.inference.dtype == torch.bfloat16
    assert torch.equal(faster.encode(speech).tokens, tiny_codec.encode(speech).tokens)


def test_a_pickled_model_is_the_same_model(tiny_codec: Codec, speech: torch.Tensor) -> None:
    """As a worker process gets it that is not forked."""
    tiny_codec.decoder.requires_grad_(False)
    tiny_codec.encode(speech)  # what is prepared stays here
    other = pickle.loads(pickle.dumps(tiny_codec))
    assert other.fingerprint == tiny_codec.fingerprint and not other.training
    assert [w.requires_grad for w in other.parameters()] == [w.requires_grad for w in tiny_codec.parameters()]
    tokens = tiny_codec.encode(speech)
    assert torch.equal(other.encode(speech).tokens, tokens.tokens)
    assert torch.equal(other.decode(tokens), tiny_codec.decode(tokens))
    tiny_codec.train().quantizer.eval()
    again = pickle.loads(pickle.dumps(tiny_codec))
    assert again.training and again.encoder.lstm.training and not again.quantizer.training


def test_a_copy_of_a_compiled_model_has_weights_of_its_own(tiny_codec: Codec, speech: torch.Tensor) -> None:
    audio = speech[:9_600].view(1, 1, -1)
    with torch.no_grad():
        expected = tiny_codec(audio).audio
        tiny_codec.compile(backend="eager")
        twin = copy.deepcopy(tiny_codec)
        twin.decoder.head.out.weight.zero_()
        twin.decoder.head.out.bias.zero_()
        assert not torch.allclose(twin(audio).audio, expected)


def test_a_length_that_is_no_number_is_refused_as_such(tiny_codec: Codec, speech: torch.Tensor) -> None:
    with pytest.raises(CodecError, match=r"length=tensor\(\[.*expected one whole number of samples"):
        tiny_codec.decode(*tiny_codec.encode(speech))
