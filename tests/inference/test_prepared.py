"""The forms that run without gradient are the modules' functions, and follow their weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from codec import Codec, CodecError, preset
from codec.config import ModelConfig, build
from codec.inference import Inference, PreparedDecoder, PreparedEncoder
from codec.inference import encoder as encoder_module
from codec.inference import lstm as lstm_module
from codec.inference.decoder import _convnext
from codec.inference.lstm import GAIN, LANES, RUN_UPS, LSTMInLanes, run_up_of
from codec.inference.weights import WeightsSeen
from codec.modules.seanet import EncoderState
from codec.modules.vocos import ConvNeXtBlock

HOP = 320


def relative(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one.double() - other.double()).norm() / other.double().norm())


@pytest.fixture(params=["convolutions", "halves"])
def downsampling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the layers with a stride run; where there are many weights, as two products."""
    if request.param == "halves":
        monkeypatch.setattr(encoder_module, "HALVES_WEIGHTS", 0)


@torch.no_grad()
@pytest.mark.usefixtures("downsampling")
@pytest.mark.parametrize("samples", [16 * HOP, 16 * HOP + 1, 17 * HOP - 1, 47_999])
@pytest.mark.parametrize("rows", [1, 3])
def test_encoder(tiny_codec: Codec, speech: Tensor, samples: int, rows: int) -> None:
    audio = speech[:samples].expand(rows, 1, -1)
    prepared = PreparedEncoder(tiny_codec.encoder)
    assert prepared.takes_signal(audio)
    assert relative(prepared(audio), tiny_codec.encoder(audio)) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize(
    "changes",
    [
        {"lstm_layers": 0},
        {"unit_norm": True},
        {"residual_layers": 0},
        {"residual_layers": 2},
        {"stem_stride": 8, "strides": [5, 4, 2]},
    ],
)
def test_encoder_settings(tiny_codec: Codec, speech: Tensor, changes: dict[str, object]) -> None:
    settings = tiny_codec.config.model_dump(mode="json")
    settings["encoder"] |= changes
    torch.manual_seed(0)
    encoder = Codec(build(ModelConfig, settings)).eval().encoder
    assert relative(PreparedEncoder(encoder)(speech.view(1, 1, -1)), encoder(speech.view(1, 1, -1))) < 1e-5


@torch.no_grad()
def test_published_layers_and_real_speech_give_the_same_tokens(speech: Tensor) -> None:
    settings = preset("reference").model_dump(mode="json")
    settings["encoder"] |= {"channels": 8, "latent_dim": 64, "init_gain": 1.3}
    settings["decoder"] |= {"dim": 64, "hidden_dim": 96, "layers": 2}
    torch.manual_seed(0)
    codec = Codec(build(ModelConfig, settings)).eval()
    audio = speech.view(1, 1, -1)
    plain = codec.quantizer.encode(codec.encoder(audio))
    assert len(plain.unique()) > 20
    assert torch.equal(codec.quantizer.encode(Inference().latents(codec.encoder, audio)), plain)


@torch.no_grad()
@pytest.mark.usefixtures("downsampling")
@pytest.mark.parametrize("changes", [{}, {"lstm_layers": 0}, {"residual_layers": 2}, {"transformer": {"layers": 1}}])
def test_prepared_steps_are_those_of_the_modules(
    tiny_codec: Codec, speech: Tensor, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the chunks, and each latent as early."""
    settings = tiny_codec.config.model_dump(mode="json")
    settings["encoder"] |= changes
    torch.manual_seed(0)
    encoder = Codec(build(ModelConfig, settings)).eval().encoder
    hops = 0
    original = PreparedEncoder.step

    def counted(self: PreparedEncoder, audio: Tensor, state: EncoderState) -> Tensor:
        nonlocal hops
        hops += audio.shape[-1] // HOP
        return original(self, audio, state)

    monkeypatch.setattr(PreparedEncoder, "step", counted)
    inference, plain, ours = Inference(), encoder.initial_state(), encoder.initial_state()
    audio = speech.view(1, 1, -1)[..., : 100 * HOP + 7]
    at_once = encoder(audio)
    sizes = [100, 40 * HOP, 0, 33 * HOP + 11, HOP, 3, audio.shape[-1] - 74 * HOP - 114]
    found = []
    for number, chunk in enumerate(audio.split(sizes, dim=-1)):
        last = number == len(sizes) - 1
        expected = encoder.step(chunk, plain, last=last)
        found.append(inference.step(encoder, chunk, ours, last=last))
        assert found[-1].shape == expected.shape
    assert hops > 50
    assert relative(torch.cat(found, dim=-1), at_once) < 1e-5


def test_only_causal_encoders_are_prepared(tiny_codec: Codec, speech: Tensor) -> None:
    settings = tiny_codec.config.model_dump(mode="json")
    settings["encoder"]["causal"] = False
    encoder = Codec(build(ModelConfig, settings)).eval().encoder
    assert not PreparedEncoder.takes(encoder)
    with torch.no_grad():
        assert torch.equal(Inference().latents(encoder, speech.view(1, 1, -1)), encoder(speech.view(1, 1, -1)))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 90])
@pytest.mark.parametrize("rows", [1, 2])
def test_decoder(tiny_codec: Codec, frames: int, rows: int) -> None:
    quantized = tiny_codec.quantizer.decode(torch.arange(rows * frames).view(rows, frames) % 64)
    plain = tiny_codec.decoder(quantized)
    backbone, head = tiny_codec.decoder.backbone, tiny_codec.decoder.head
    assert relative(PreparedDecoder(backbone, head, torch.float32)(quantized), plain) < 1e-4
    half = relative(PreparedDecoder(backbone, head, torch.bfloat16)(quantized), plain)
    assert 1e-5 < half < 0.1  # in half precision, but not far off


@pytest.mark.parametrize(("frames", "bias"), [(1, True), (3, True), (90, True), (90, False)])
def test_shifted_copies_are_the_depthwise_convolution(frames: int, bias: bool) -> None:
    """The form that runs on GPUs."""
    torch.manual_seed(0)
    block = ConvNeXtBlock(24, 48, 1.0)
    block.depthwise = nn.Conv1d(24, 24, 7, padding=3, groups=24, bias=bias)
    depthwise = _convnext(block, torch.float32).depthwise
    x = torch.randn(2, frames, 24)
    expected = block.depthwise(x.transpose(1, 2)).transpose(1, 2)
    for form in (depthwise, depthwise.shifted):
        torch.testing.assert_close(form(x), expected, rtol=1e-5, atol=1e-6)


def test_gradients_go_through_the_modules(tiny_codec: Codec, speech: Tensor) -> None:
    inference, audio = Inference(), speech.view(1, 1, -1)
    latent = inference.latents(tiny_codec.encoder, audio)
    inference.audio(tiny_codec.decoder, latent).sum().backward()
    assert all(parameter.grad is not None for parameter in tiny_codec.encoder.parameters())


def test_autocast_goes_through_the_modules(tiny_codec: Codec, speech: Tensor) -> None:
    """The caller's autocast stays the caller's: the prepared forms know float32 only."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = tiny_codec.encode(speech)
        assert tiny_codec.decode(tokens).isfinite().all()


def test_changed_weights_are_seen(tiny_codec: Codec, speech: Tensor) -> None:
    """Also by fused Adam, which raises no version, and in eval mode."""
    inference, audio = Inference(), speech.view(1, 1, -1)
    optimizer = torch.optim.AdamW(tiny_codec.parameters(), lr=1e-2, fused=True)
    with torch.no_grad():
        before = inference.latents(tiny_codec.encoder, audio)
    tiny_codec.decoder(tiny_codec.encoder(audio)).square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        after = inference.latents(tiny_codec.encoder, audio)
        assert relative(after, before) > 1e-3
        assert relative(after, tiny_codec.encoder(audio)) < 1e-5
        decoded = inference.audio(tiny_codec.decoder, after)
        tiny_codec.decoder.backbone.embed.weight.mul_(2)
        assert relative(inference.audio(tiny_codec.decoder, after), decoded) > 1e-3


def test_copies_prepare_their_own(tiny_codec: Codec, speech: Tensor) -> None:
    inference = Inference("bfloat16")
    with torch.no_grad():
        inference.latents(tiny_codec.encoder, speech.view(1, 1, -1))
    copied = copy.deepcopy(inference)
    assert copied.dtype == torch.bfloat16 and copied._encoder is None


def test_weights_seen(tiny_codec: Codec) -> None:
    seen = WeightsSeen(tiny_codec.encoder)
    assert seen.unchanged(tiny_codec.encoder)
    with torch.no_grad():
        tiny_codec.encoder.out.conv.bias.add_(1)
    assert not seen.unchanged(tiny_codec.encoder)
    assert not WeightsSeen(tiny_codec.encoder).unchanged(copy.deepcopy(tiny_codec).encoder)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(CodecError, match="dtype='float16': expected float32 or bfloat16"):
        Inference("float16")


def forgetting(bias: float, layers: int = 2) -> nn.LSTM:
    """An LSTM whose forget gates are open by ``bias``: the larger, the longer its memory."""
    torch.manual_seed(0)
    lstm = nn.LSTM(6, 6, layers, batch_first=True)
    with torch.no_grad():
        for layer in range(layers):
            getattr(lstm, f"bias_ih_l{layer}")[6:12] = bias
    return lstm


class Counted(LSTMInLanes):
    """Notes the steps of all lanes of each layer, and the frames that it does in one pass."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__(lstm)
        self.steps = [0] * len(self.layers)
        self.in_one_pass: list[list[int]] = [[] for _ in self.layers]
        for number, layer in enumerate(self.layers):
            layer.alone.register_forward_hook(self._noted(number))
            layer.recur = self._counted(number, layer.recur)  # type: ignore[method-assign]

    def _noted(self, number: int) -> Callable[..., None]:
        return lambda _, given, __: self.in_one_pass[number].append(given[0].shape[1])

    def _counted(self, number: int, recur: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def counted(hidden: Tensor) -> Tensor:
            self.steps[number] += 1
            return recur(hidden)

        return counted


@torch.no_grad()
@pytest.mark.parametrize("run_up", [4, 32])
@pytest.mark.parametrize("frames", [1, 4 * GAIN - 1, 4 * GAIN, 32 * GAIN, 32 + LANES * 60, LANES * 60 + 5])
@pytest.mark.parametrize("bias", [0.0, 3.0, 50.0])  # forgets, forgets slowly, never forgets
def test_lanes_give_what_one_pass_gives(run_up: int, frames: int, bias: float) -> None:
    """Whatever the run-up: the guess that it gives is checked."""
    lstm = forgetting(bias)
    lanes = LSTMInLanes(lstm)
    x = torch.randn(1, frames, 6)
    before = torch.rand(2, lstm.num_layers, 1, lstm.hidden_size).unbind()
    for state in (None, before):
        ours, end = lanes(x, run_up, state)
        theirs, true_end = lstm(x, state)
        for one, other in ((ours, theirs), *zip(end, true_end, strict=True)):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_lanes_save_steps_only_where_the_past_is_forgotten() -> None:
    run_up = RUN_UPS[0]
    x = torch.randn(1, run_up + LANES * 60, 6)
    short, long = Counted(forgetting(0.0)), Counted(forgetting(50.0))
    for lanes in (short, long):
        lanes(x, run_up)
    assert short.steps == [run_up + 60] * 2 and short.in_one_pass == [[], []]
    # Behind the first part nothing is right. A round of repairs puts one more right; the rest is done in one pass.
    assert long.steps == [run_up + 60 + 60] * 2
    assert long.in_one_pass == [[(LANES - 2) * 60]] * 2


@torch.no_grad()
@pytest.mark.parametrize(
    ("held", "whole_parts", "in_one_pass"),
    [
        ((3,), 0, []),
        ((11, 1), 0, []),
        ((3, 4), 1, []),  # the second only ends right when the first does
        ((3, 4, 5), 2, [7 * 60]),  # and so on: in one pass then
    ],
)
def test_parts_that_hold_on_longer_are_computed_again(
    held: tuple[int, ...], whole_parts: int, in_one_pass: list[int]
) -> None:
    """The first input opens the first layer's forget gates, all through the run-ups of some parts and 15 frames on."""
    run_up, length = 32, 60
    lstm = forgetting(0.0)
    for layer in range(2):
        getattr(lstm, f"weight_ih_l{layer}")[:, 0] = 0
    lstm.weight_ih_l0[6:12, 0] = 40.0
    x = torch.randn(1, run_up + LANES * length, 6)
    x[..., 0] = 0
    for part in held:
        x[0, run_up + part * length - 45 : run_up + (part + 1) * length - 45, 0] = 1
    lanes = Counted(lstm)
    outputs, end = lanes(x, run_up)
    repairs = lanes.steps[0] - run_up - length * (1 + whole_parts)
    assert lanes.in_one_pass == [in_one_pass, []] and lanes.steps[1] == run_up + length
    assert repairs == 0 if in_one_pass else 15 < repairs < 45  # as soon as the states agree again
    expected, true_end = lstm(x)
    for one, other in ((outputs, expected), *zip(end, true_end, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("packed", [True, False])
def test_lanes_with_and_without_packed_weights(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of published size, and a torch without MKL."""
    if packed and not hasattr(torch.ops.mkl, "_mkl_linear"):
        pytest.skip("torch is without MKL")
    if not packed:
        monkeypatch.setattr(lstm_module._Layer, "packed", None)
    torch.manual_seed(0)
    lstm = nn.LSTM(512, 512, 2, batch_first=True)
    x = torch.randn(1, 300, 512)
    lanes = Counted(lstm)
    outputs, end = lanes(x, 48)
    assert lanes.steps == [48 + 21] * 2 and (lanes.layers[0].packed is not None) == packed
    expected, true_end = lstm(x)
    for one, other in ((outputs, expected), *zip(end, true_end, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


@torch.no_grad()
def test_long_sequences_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lstm_module, "MOST_FRAMES", 400)
    lanes = Counted(forgetting(0.0))
    x = torch.randn(1, 1000, 6)
    outputs, end = lanes(x, 40)
    # Pieces of 334, 334 and 332 frames, with run-ups of 46, 46 and 44 and parts of 24 behind them.
    assert lanes.steps[0] >= 70 + 70 + 68 and lanes.in_one_pass == [[], []]
    expected, true_end = lanes.lstm(x)
    for one, other in ((outputs, expected), *zip(end, true_end, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_what_is_no_number_stays_none_behind_it() -> None:
    x = torch.randn(1, 32 + LANES * 60, 6)
    x[0, 200] = torch.nan
    outputs, end = LSTMInLanes(forgetting(0.0))(x, 32)
    assert outputs[0, :200].isfinite().all() and outputs[0, 200:].isnan().all()
    assert end[0].isnan().all()


@torch.no_grad()
def test_a_run_up_is_as_long_as_the_memory() -> None:
    x = torch.randn(1, max(RUN_UPS), 6)
    assert run_up_of(forgetting(0.0), x) == RUN_UPS[0]
    assert run_up_of(forgetting(50.0), x) is None
    longer = run_up_of(forgetting(1.0), x)
    assert longer is not None and longer > RUN_UPS[0]


@torch.no_grad()
def test_an_encoder_whose_lstm_counts_is_not_tried_in_lanes(
    tiny_codec: Codec, speech: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out of noise, when it is first asked: no signal decides how the next one is computed."""
    tried = []
    original = LSTMInLanes.__call__
    monkeypatch.setattr(LSTMInLanes, "__call__", lambda *given: tried.append(1) or original(*given))
    audio = speech[: HOP * max(RUN_UPS) * GAIN].view(1, 1, -1)
    lstm = tiny_codec.encoder.lstm.lstm
    size = lstm.hidden_size
    for bias, times in ((0.0, 1), (50.0, 0)):
        for layer in range(lstm.num_layers):
            getattr(lstm, f"bias_ih_l{layer}")[size : 2 * size] = bias
        state = torch.random.get_rng_state()
        prepared = PreparedEncoder(tiny_codec.encoder)
        tried.clear()
        assert relative(prepared(audio), tiny_codec.encoder(audio)) < 1e-5
        assert torch.equal(torch.random.get_rng_state(), state)
        assert (prepared.run_up is not None) is bool(times)
        assert prepared.run_up == PreparedEncoder(tiny_codec.encoder).run_up
        assert len(tried) == times
