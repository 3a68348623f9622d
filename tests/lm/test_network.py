"""The loss in pieces is the loss; packed recordings do not see each other; folders are transformers' own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from codec.errors import CodecError
from codec.lm.corpus import TokenCorpus
from codec.lm.loss import token_losses
from codec.lm.network import LanguageModel
from codec.lm.packing import IGNORED, PackedBlocks, Sequences


def test_loss_in_pieces_is_cross_entropy_with_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 6, generator=generator, dtype=torch.float32).requires_grad_()
    table = torch.randn(30, 6, generator=generator).requires_grad_()
    targets = torch.randint(30, (11,), generator=generator)
    targets[4] = IGNORED
    whole = F.cross_entropy(hidden @ table.T, targets, ignore_index=IGNORED, reduction="none")
    wanted = torch.autograd.grad(whole.sum(), (hidden, table))
    for chunk in (1, 4, 11, 50):
        pieces = token_losses(hidden, table, targets, chunk)
        torch.testing.assert_close(pieces, whole)
        torch.testing.assert_close(torch.autograd.grad(pieces.sum(), (hidden, table)), wanted)
        with torch.no_grad():
            torch.testing.assert_close(token_losses(hidden, table, targets, chunk), whole)


def test_no_more_logits_than_a_piece_are_kept_for_the_backward_pass() -> None:
    N, V, D, chunk = 64, 5000, 4, 8
    hidden, table = torch.randn(N, D, requires_grad=True), torch.randn(V, D, requires_grad=True)
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        token_losses(hidden, table, torch.zeros(N, dtype=torch.int64), chunk)
    assert max(kept, default=0) < chunk * V  # the table at most, which is there anyway


def test_a_recording_in_a_pack_costs_what_it_costs_alone(lm: LanguageModel, corpus: TokenCorpus) -> None:
    packed = PackedBlocks(corpus, lm.context, seed=0).batch(0, 6)
    assert (packed.inputs[:, 1:] == corpus.vocabulary.begin).any()
    with torch.no_grad():
        losses = lm(packed)
        for row in range(6):
            starts = [*(packed.positions[row] == 0).nonzero().flatten().tolist(), lm.context]
            for start, stop in pairwise(starts):
                alone = Sequences(*(part[row : row + 1, start:stop] for part in packed))
                torch.testing.assert_close(lm(alone)[0], losses[row, start:stop], rtol=1e-4, atol=1e-4)


def test_loss_is_that_of_transformers(lm: LanguageModel) -> None:
    inputs = torch.arange(10).unsqueeze(0)
    targets = torch.full_like(inputs, 3)
    losses = lm(Sequences(inputs, targets, inputs.clone()))
    logits = lm.llama(input_ids=inputs).logits
    torch.testing.assert_close(losses, F.cross_entropy(logits[0], targets[0], reduction="none").unsqueeze(0))


def test_folder_is_read_by_us_and_by_transformers(lm: LanguageModel, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    lm.save_pretrained(tmp_path / "lm")
    lm.save_pretrained(tmp_path / "lm")  # over what is there
    assert sorted(path.name for path in tmp_path.glob("*lm*")) == ["lm"]
    again = LanguageModel.from_pretrained(tmp_path / "lm", "cpu")
    assert (again.codec, again.context, again.vocabulary) == (lm.codec, lm.context, lm.vocabulary)
    inputs = torch.arange(10).unsqueeze(0)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "lm")
    for other in (again.llama, plain):
        torch.testing.assert_close(other(input_ids=inputs).logits, lm.llama(input_ids=inputs).logits)


def test_a_kill_between_two_files_leaves_no_mixture(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models of one shape, the second half moved into place: settings may differ by more than shapes tell."""
    folder = tmp_path / "lm"
    lm.save_pretrained(folder)
    with torch.no_grad():
        lm.llama.lm_head.weight.add_(1)
    replace, renamed = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        if Path(target).parent == folder and self.parent == folder and Path(target).name != "SHA256SUMS":
            if renamed:
                raise KeyboardInterrupt
            renamed.append(target)
        return replace(self, target)

    lm.llama.config.rope_theta = 12345.0
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        lm.save_pretrained(folder)
    monkeypatch.undo()
    assert renamed
    with pytest.raises(CodecError, match="SHA-256 differs"):
        LanguageModel.from_pretrained(folder, "cpu")
    lm.save_pretrained(folder)
    LanguageModel.from_pretrained(folder, "cpu")


def test_what_is_no_language_model_is_said(tiny_model_dir: Path, lm: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="not a language model of speech tokens"):
        LanguageModel.from_pretrained(tiny_model_dir, "cpu")
    lm.save_pretrained(tmp_path / "lm")
    weights = tmp_path / "lm" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CodecError, match="damaged"):
        LanguageModel.from_pretrained(tmp_path / "lm", "cpu")
