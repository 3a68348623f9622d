"""From a training run to a model that ships with the package: half precision, parts, card, checksums, index."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor

from codec import audio, bundled
from codec.config import dump_yaml, load_run_config
from codec.corpora.sources import sources_of, sources_table
from codec.errors import CodecError
from codec.files import write_text
from codec.manifest import read_manifest
from codec.model import Codec
from codec.pretrained import CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE, sha256_of, weight_files, write_sums
from codec.sharing import CARD_FILE, RUN_FILE, model_card, run_facts, scores_of

logger = logging.getLogger(__name__)

LARGEST_FILE = 16 * 2**20  # bytes; what is larger is split


class Released(NamedTuple):
    """What became of a model."""

    folder: Path
    codec: Codec
    num_bytes: int  # of the weights
    tokens: int  # of the speech that was compared
    equal: int  # of them those that half precision leaves as they were


def release(
    model: Path,
    name: str,
    speech: Sequence[Path],
    *,
    description: str,
    licence: str | None = None,
    evaluation: Path | None = None,
    sources: Sequence[Path] = (),
    notes: Path | None = None,
    machine: str | None = None,
    largest_file: int = LARGEST_FILE,
) -> Released:
    """Put a trained model among those that ship, in the place of one of this name.

    The same model gives the same files, but for the card: release, score what is there, and release again with scores.

    Args:
        model: ``best/`` of a run.
        name: under which it will be found.
        speech: recordings on which the tokens of half precision are compared with those of float32.
        description: one line, for the index.
        licence: of the weights, as the hub names it.
        evaluation: folder that ``recipes/evaluate.py`` wrote for the model as released.
        sources: tables of where the training recordings come from (:mod:`codec.corpora.sources`).
        notes: Markdown whose sections go into the card: credits, limits.
        machine: on what it was trained.
        largest_file: bytes; weights beyond are split.

    Raises:
        CodecError: no whole model or run, weights that half precision cannot hold, recordings without a source, an
            evaluation of another model, or a place that cannot be written. What ships stays as it was then.
    """
    if name != Path(name).name or name.startswith("."):
        raise CodecError(f"{name!r}: not a name for a model; expected one like {bundled.DEFAULT_MODEL}")
    run_file = model.resolve().parent / RUN_FILE
    if not run_file.is_file():
        raise CodecError(f"{model}: lies in no run folder (no {RUN_FILE} above it); give best/ of a run")
    original = Codec.from_pretrained(model, "cpu")
    folder = bundled.FOLDER / name
    work = folder.with_name(f".{name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        original.save_pretrained(work)  # for its settings
        _write_half(original, work, largest_file)
        codec = Codec.from_pretrained(work, "cpu")
        tokens, equal = _compare(original, codec, speech)
        facts = run_facts(model)
        if machine:
            facts["Trained on"] = machine
        facts["Half precision"] = (
            f"weights in float16, computed with in float32; {equal / tokens:.2%} of {tokens:,} tokens are those of the "
            "float32 weights"
        )
        sections = {}
        if sources:
            sections["Training data"] = _training_data(run_file, sources)
            # Names of manifests, also of the runs before this one, say less.
            facts = {name: value for name, value in facts.items() if not name.startswith("Training data")}
        sections["How it was made"] = _how(name)
        card = model_card(
            codec,
            name,
            licence=licence,
            run=facts,
            scores=scores_of(codec, evaluation),
            sections={**sections, **(_sections(notes) if notes else {})},
        )
        write_text(work / CARD_FILE, card)
        write_text(work / RUN_FILE, _settings(run_file))
        write_sums(work, {file: work / file for file in (CONFIG_FILE, *weight_files(work))})
        num_bytes = sum((work / file).stat().st_size for file in weight_files(work))
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    except OSError as error:
        raise CodecError(f"{folder}: cannot be written ({error.strerror}); choose a writable place") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sums = sha256_of(folder / CHECKSUMS_FILE)
    bundled.add_to_index(
        bundled.BundledModel(name, folder, codec.fingerprint, codec.token_fingerprint, sums, description)
    )
    return Released(folder, codec, num_bytes, tokens, equal)


def _write_half(codec: Codec, folder: Path, largest_file: int) -> None:
    weights: dict[str, Tensor] = {}
    for name, value in codec.state_dict().items():
        weights[name] = value.half() if value.is_floating_point() else value
        if value.is_floating_point() and not bool(weights[name].isfinite().all()):
            raise CodecError(f"{name}: up to {float(value.abs().max()):g}, beyond what half precision holds (65504)")
    (folder / WEIGHTS_FILE).unlink()
    save_torch_state_dict(weights, folder, max_shard_size=largest_file)
    for file in weight_files(folder):
        (folder / file).chmod(0o644)  # safetensors writes for the owner alone, and a package is for all


@torch.no_grad()
def _compare(original: Codec, half: Codec, speech: Sequence[Path]) -> tuple[int, int]:
    """Tokens of all recordings, and how many of them both models agree on."""
    tokens = equal = 0
    for path in speech:
        samples = audio.load(path, original.sample_rate)
        one, other = original.encode(samples).tokens, half.encode(samples).tokens
        tokens += one.numel()
        equal += int((one == other).sum())
    if not tokens:
        raise CodecError("no speech to compare the precisions on; give recordings with --speech")
    return tokens, equal


def _training_data(run_file: Path, tables: Sequence[Path]) -> str:
    data = load_run_config(run_file).data
    if data.shards:
        raise CodecError(f"{run_file}: trained on shards, whose recordings no table can name; leave --sources out")
    return sources_table(sources_of((item for path in data.train for item in read_manifest(path)), tables))


def _how(name: str) -> str:
    return (
        f"`{RUN_FILE}` beside this card has every setting that the run ended with. With manifests of the recordings at "
        "the places that it names, a run with these settings from the start:\n\n```sh\naccelerate launch "
        f"recipes/train.py --config codec/bundled/{name}/{RUN_FILE} output=exp/again\n```"
    )


def _settings(run_file: Path) -> str:
    """All settings of a run as YAML, without places of this machine."""
    config = load_run_config(run_file)
    data = config.data.model_copy(
        update={name: tuple(map(_public, getattr(config.data, name))) for name in ("train", "validation")}
    )
    start = config.init_from if config.init_from is None else _public(config.init_from)
    return dump_yaml(config.model_copy(update={"data": data, "init_from": start, "output": _public(config.output)}))


def _public(place: str) -> str:
    path = Path(place)
    if not path.is_absolute():
        return place
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else "/".join(path.parts[-2:])


def _sections(notes: Path) -> dict[str, str]:
    """Sections of a Markdown file by their headings (##).

    Raises:
        CodecError: it cannot be read, or has none.
    """
    try:
        parts = f"\n{notes.read_text(encoding='utf-8')}".split("\n## ")[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise CodecError(f"{notes}: cannot read the notes for the card ({error})") from None
    if not parts:
        raise CodecError(f"{notes}: no sections (## Heading) for the card; add one, or leave --notes out")
    return {heading.strip(): text for heading, _, text in (part.partition("\n") for part in parts)}
