from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from golden_weights import GOLDEN, golden_state, golden_values, golden_weight, relative_error

from codec import Codec, CodecError, audio
from codec.convert import convert_simvq, convert_wavtokenizer, read_checkpoint, rename_simvq


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """The state of a published checkpoint: last weights wrong on purpose, averages right, dead parts there."""
    state: dict[str, torch.Tensor] = {}
    for name, value in golden_state("simvq_keys.json", "generator").items():
        averaged = name not in ("quantize.embedding.weight", "head.istft.window")
        if averaged:
            state["model_ema." + name.replace(".", "")] = value
        state[name] = value + 1 if averaged else value
    state["model_ema.decay"] = torch.tensor(0.999)
    state["model_ema.num_updates"] = torch.tensor(-1)
    state["decoder.model.0.conv.conv.bias"] = torch.zeros(512)
    state["loss.discriminator.whatever"] = torch.zeros(3)
    return state


@pytest.fixture(scope="module")
def hollow(published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same names and shapes, each tensor one stored number: kilobytes on the disk, where 560 MB have no use."""
    return {name: value.new_zeros(()).expand(value.shape) for name, value in published.items()}


def test_a_published_checkpoint_becomes_our_model(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    checkpoint = tmp_path / "epoch=49-step=138600.ckpt"
    torch.save({"state_dict": published, "epoch": 49, "global_step": 138_600, "loops": {}}, checkpoint)
    convert_simvq(checkpoint, tmp_path / "model")
    codec = Codec.from_pretrained(tmp_path / "model", device="cpu")
    golden = golden_values("simvq_seed0.npz")
    tokens = codec.encode(golden["audio"])
    assert torch.equal(tokens.tokens, golden["indices"])
    assert relative_error(codec.decode(golden["tokens"])[:, 0], golden["tokens_audio"]) <= 1e-4


@pytest.fixture(scope="module")
def wavtokenizer() -> dict[str, torch.Tensor]:
    shapes = json.loads((GOLDEN / "wavtokenizer_keys.json").read_text())
    state = {name: golden_weight(name, shape, seed=0) for name, shape in shapes.items()}
    return state | {"head.istft.window": torch.hann_window(len(state["head.istft.window"]))}


def test_a_published_wavtokenizer_becomes_our_model(wavtokenizer: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": wavtokenizer, "epoch": 3}, tmp_path / "x.ckpt")
    convert_wavtokenizer(tmp_path / "x.ckpt", tmp_path / "model")
    codec = Codec.from_pretrained(tmp_path / "model", device="cpu")
    golden = golden_values("wavtokenizer_seed0.npz")
    with torch.no_grad():
        assert relative_error(codec.encoder(golden["audio"][None, None]), golden["latent"]) <= 1e-4
    tokens = codec.encode(golden["audio"])
    assert torch.equal(tokens.tokens, golden["indices"])
    reconstruction = codec.decode(tokens.tokens)[:, 0]
    assert relative_error(reconstruction, golden["reconstruction"]) <= 1e-4
    assert relative_error(codec.decode(golden["tokens"])[:, 0], golden["tokens_audio"]) <= 1e-4


def test_another_bandwidth_of_wavtokenizer_is_another_model(
    wavtokenizer: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": wavtokenizer}, tmp_path / "x.ckpt")
    convert_wavtokenizer(tmp_path / "x.ckpt", tmp_path / "model", bandwidth_id=1)
    golden = golden_values("wavtokenizer_seed0.npz")
    audio = Codec.from_pretrained(tmp_path / "model", device="cpu").decode(golden["tokens"])[:, 0]
    assert relative_error(audio, golden["tokens_audio"]) > 1e-3
    with pytest.raises(CodecError, match=r"bandwidth_id=4: .* has rows 0 to 3"):
        convert_wavtokenizer(tmp_path / "x.ckpt", tmp_path / "model", bandwidth_id=4)


def test_a_simvq_checkpoint_is_no_wavtokenizer(hollow: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": hollow}, tmp_path / "x.ckpt")
    with pytest.raises(CodecError, match=r"no codebook named .*: not a WavTokenizer model"):
        convert_wavtokenizer(tmp_path / "x.ckpt", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_names_that_are_not_published_are_refused() -> None:
    for name in ("encoder.model.2.weight", "quantize.nothing", "backbone.pos.1", "head.in.weight", "elsewhere.x"):
        with pytest.raises(CodecError, match="not a weight of the published SimVQ audio model"):
            rename_simvq(name)


class Evil:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (os.system, ("touch /tmp/evil_was_here",))


def _text(path: Path, state: dict) -> None:
    path.write_text("not a checkpoint")


def _sound(path: Path, state: dict) -> None:
    audio.write(path.with_suffix(".wav"), torch.zeros(2000), 24_000)
    path.with_suffix(".wav").rename(path)


def _no_instructions(path: Path, state: dict) -> None:
    path.write_bytes(b"\x80\x02.")  # a pickle's beginning and end, without anything between


def _empty(path: Path, state: dict) -> None:
    path.write_bytes(b"")


def _truncated(path: Path, state: dict) -> None:
    torch.save({"state_dict": {name: state[name] for name in list(state)[:5]}}, path)
    path.write_bytes(path.read_bytes()[:-500])


def _without_state_dict(path: Path, state: dict) -> None:
    torch.save({"weights": {}}, path)


def _other_model(path: Path, state: dict) -> None:
    torch.save({"state_dict": {"encoder.x": torch.zeros(1)}}, path)


def _a_part_missing(path: Path, state: dict) -> None:
    torch.save({"state_dict": {k: v for k, v in state.items() if "headout" not in k and k != "head.out.bias"}}, path)


def _not_tensors(path: Path, state: dict) -> None:
    torch.save({"state_dict": {**state, 7: torch.zeros(1), "head.out.bias": 3, "model_ema.headoutbias": 3}}, path)


def _no_codes(path: Path, state: dict) -> None:
    torch.save({"state_dict": {**state, "quantize.embedding.weight": torch.zeros(0, 512)}}, path)


def _a_list(path: Path, state: dict) -> None:
    torch.save([1, 2], path)


def _code(path: Path, state: dict) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))


def _code_in_archive(path: Path, state: dict) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": Evil()}, path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_text, "not a PyTorch checkpoint"),
        (_sound, "not a PyTorch checkpoint; download it again"),
        (_no_instructions, "not a PyTorch checkpoint, or truncated; download it again"),
        (_empty, "not a PyTorch checkpoint"),
        (_truncated, "not a PyTorch checkpoint, or truncated; download it again"),
        (_without_state_dict, "no 'state_dict' (found: weights)"),
        (_other_model, "not a SimVQ audio model: nothing named quantize, backbone, head"),
        (_a_part_missing, "1 missing (decoder.head.out.bias)"),
        (_not_tensors, "head.out.bias is no tensor"),
        (_no_codes, "quantize.embedding.weight is missing, empty or not a matrix"),
        (_a_list, "holds a list, expected a checkpoint"),
        (_code, "holds more than tensors"),
        (_code_in_archive, "holds more than tensors"),
    ],
)
def test_what_is_no_published_checkpoint_is_refused(
    hollow: dict[str, torch.Tensor], tmp_path: Path, make, says: str
) -> None:
    path = tmp_path / "x.ckpt"
    make(path, hollow)
    with pytest.raises(CodecError) as error:
        convert_simvq(path, tmp_path / "model")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model").exists()
    assert not Path("/tmp/evil_was_here").exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="no such file; give the checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
