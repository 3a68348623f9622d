"""Every token comes once an epoch, in its place, whatever the cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from codec.bitstream import Header, write_tokens
from codec.errors import CodecError
from codec.lm.corpus import TokenCorpus
from codec.lm.packing import IGNORED, PackedBlocks
from codec.tokenstore import Model


def test_an_epoch_holds_every_recording_whole_between_its_marks(corpus: TokenCorpus) -> None:
    blocks = PackedBlocks(corpus, 8, seed=3)
    marked = corpus.num_tokens + 2 * len(corpus)
    assert blocks.blocks_an_epoch == (marked - 1) // 8
    row = torch.cat([blocks.batch(number, 1).inputs[0] for number in range(blocks.blocks_an_epoch)]).tolist()
    begin, end = corpus.vocabulary.begin, corpus.vocabulary.end
    found, rest = [], row
    while end in rest:
        assert rest[0] == begin
        found.append(tuple(rest[1 : rest.index(end)]))
        rest = rest[rest.index(end) + 1 :]
    recordings = Counter(tuple(corpus.recording(place).tolist()) for place in range(len(corpus)))
    assert not Counter(found) - recordings
    # Only what the last block had no room for is missing: a piece of the last recording.
    (missing,) = (recordings - Counter(found)).elements()
    assert missing[: len(rest) - 1] == tuple(rest[1:])


def test_targets_follow_inputs_and_none_crosses_recordings(corpus: TokenCorpus) -> None:
    vocabulary = corpus.vocabulary
    inputs, targets, positions = PackedBlocks(corpus, 8, seed=0).batch(0, 12)
    for row, wanted, place in zip(inputs.tolist(), targets.tolist(), positions.tolist(), strict=True):
        for at in range(8):
            if row[at] == vocabulary.end:
                assert wanted[at] == IGNORED
            elif at < 7:
                assert wanted[at] == row[at + 1]
            starts = at == 0 or row[at] == vocabulary.begin
            assert place[at] == (0 if starts else place[at - 1] + 1)


def test_order_follows_from_seed_and_number_alone(corpus: TokenCorpus) -> None:
    blocks = PackedBlocks(corpus, 8, seed=1)
    per = blocks.blocks_an_epoch
    later, first = blocks.batch(2 * per + 3, 2), blocks.batch(0, 2)  # backwards, too
    again = PackedBlocks(corpus, 8, seed=1)
    assert torch.equal(again.batch(0, 2).inputs, first.inputs)
    assert torch.equal(again.batch(2 * per + 3, 2).inputs, later.inputs)
    assert not torch.equal(blocks.batch(0, per).inputs, blocks.batch(per, per).inputs)
    assert not torch.equal(PackedBlocks(corpus, 8, seed=2).batch(0, per).inputs, blocks.batch(0, per).inputs)


def test_too_little_speech_is_refused(corpus: TokenCorpus) -> None:
    with pytest.raises(CodecError, match=r"do not fill one sequence of model.context=1000"):
        PackedBlocks(corpus, 1000, seed=0)


def test_tokens_of_two_codecs_do_not_mix(make_tokens, corpus: TokenCorpus) -> None:
    other = make_tokens("other", Model("other", "f" * 16, 16, 24_000, 320))
    with pytest.raises(CodecError, match="tokenise both with one model"):
        TokenCorpus([make_tokens("same"), other])
    with pytest.raises(CodecError, match="tokenise with the codec of the language model"):
        corpus.check_model(Model("other", "f" * 16, 16, 24_000, 320), "lm")


def test_several_folders_are_one_corpus(make_tokens) -> None:
    one = TokenCorpus([make_tokens("a")])
    both = TokenCorpus([make_tokens("b"), make_tokens("c")])
    assert both.num_tokens == 2 * one.num_tokens
    assert torch.equal(both.counts(), 2 * one.counts())
    assert torch.equal(both.recording(len(one) + 2), one.recording(2))


def test_a_folder_of_token_files_is_a_corpus_too(corpus: TokenCorpus, tmp_path: Path) -> None:
    model = corpus.model
    for number, length in enumerate(corpus.lengths.tolist()):
        header = Header(model.fingerprint, model.sample_rate, model.hop_length, model.codebook_size, 320 * length)
        write_tokens(tmp_path / "svq" / f"{number}.svq", header, corpus.recording(number).numpy())
    assert TokenCorpus([tmp_path / "svq"]).identity() == corpus.identity()


def test_a_folder_within_another_that_is_given_too_is_warned_of(
    corpus: TokenCorpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = corpus.model
    for name in ("svq/a", "svq/more/b", "svq2/c"):
        header = Header(model.fingerprint, model.sample_rate, model.hop_length, model.codebook_size, 320)
        write_tokens(tmp_path / f"{name}.svq", header, np.zeros(1, np.int64))
    assert len(TokenCorpus([tmp_path / "svq", tmp_path / "svq2"])) == 3 and not caplog.text
    assert len(TokenCorpus([tmp_path / "svq" / "more", tmp_path / "svq"])) == 3
    assert f"{tmp_path / 'svq'}: holds another of the folders given, whose recordings count double" in caplog.text


def test_any_seed_of_a_generator_is_one(corpus: TokenCorpus) -> None:
    batches = [PackedBlocks(corpus, 8, seed).batch(0, 20).inputs for seed in (0, 2**63 + 5, 2**64 - 1)]
    assert not torch.equal(batches[0], batches[1]) and not torch.equal(batches[1], batches[2])
