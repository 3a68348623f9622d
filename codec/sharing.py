"""Models for others: a folder with model card and checksums, and its way to the hub."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from codec.config import load_run_config
from codec.errors import CodecError
from codec.files import read_json
from codec.model import Codec
from codec.pretrained import (
    CHECKSUMS_FILE,
    CONFIG_FILE,
    PARTS,
    PARTS_INDEX_FILE,
    TRAINING_FILE,
    WEIGHTS_FILE,
    check_repository_name,
    find_model,
    replacing_model,
    weight_files,
    write_sums,
)

logger = logging.getLogger(__name__)

CARD_FILE = "README.md"
RUN_FILE = "config.yaml"  # of a run folder, one above best/ and last/
METRICS_FILE = "metrics.jsonl"  # beside it
NO_STEP = "train again, or remove the file if the step is not known"


def prepare(
    model: str | Path, output: Path, repository: str, *, licence: str | None = None, evaluation: Path | None = None
) -> Codec:
    """Write the folder that :func:`push` uploads: settings, weights, ``SHA256SUMS`` and the model card ``README.md``.

    Args:
        model: folder of a model, or its name as :func:`codec.pretrained.find_model` takes it. If it is ``best/`` or
            ``last/`` of a run, the card says how it was trained.
        output: folder to write.
        repository: "owner/name", for the card.
        licence: as the hub names it ("mit", "cc-by-4.0"). None: the card says that none is given.
        evaluation: folder that ``recipes/evaluate.py`` wrote for this model; its scores go into the card.

    Returns:
        The model, loaded and thereby checked.

    Raises:
        CodecError: no whole model, an evaluation that cannot be read or is of another model, or a place that cannot be
            written or is the model's own folder.
    """
    check_repository_name(repository)
    folder = find_model(model)
    if output.resolve() == folder.resolve():
        raise CodecError(f"{output}: is the model's own folder, which stays as it is; give another one to write")
    codec = Codec.from_pretrained(folder, "cpu")
    card = model_card(codec, repository, licence=licence, run=run_facts(folder), scores=scores_of(codec, evaluation))
    files = [CONFIG_FILE, *weight_files(folder)]
    with replacing_model(output, [*files, CARD_FILE]) as paths:
        for name in files:  # bytes as they are: weights in half precision stay so
            shutil.copyfile(folder / name, paths[name])
        paths[CARD_FILE].write_text(card, encoding="utf-8")
    write_sums(output, {name: output / name for name in files})
    return codec


def push(folder: Path, repository: str, *, private: bool = False, revision: str | None = None) -> str:
    """Upload a folder that :func:`prepare` wrote; the repository is made where there is none.

    The token is the one that ``hf auth login`` or ``HF_TOKEN`` left; it is neither read nor shown here.

    Returns:
        The address of the commit.

    Raises:
        CodecError: off line, not logged in, or refused by the hub; nothing is changed there then.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    check_repository_name(repository)
    if constants.HF_HUB_OFFLINE:
        raise CodecError(f"{repository}: HF_HUB_OFFLINE is set, nothing is sent; unset it to push")
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            allow_patterns=[CONFIG_FILE, WEIGHTS_FILE, PARTS_INDEX_FILE, PARTS, CHECKSUMS_FILE, CARD_FILE],
            commit_message="A codec, its card and its checksums",
        )
    except LocalTokenNotFoundError:
        raise CodecError(f"{repository}: not logged in to the hub; run 'hf auth login' first") from None
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise CodecError(f"{repository}: the hub refused it ({reason}); check name and rights") from None
    except _network_errors() as error:
        raise CodecError(f"{repository}: the hub cannot be reached ({type(error).__name__}); try again later") from None
    return str(commit.commit_url)


def _network_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where there is no connection: requests' errors, httpx' from its version 1 on."""
    with suppress(ImportError):
        return OSError, importlib.import_module("httpx").HTTPError
    return (OSError,)  # of which requests' errors are


def model_card(
    codec: Codec,
    name: str,
    *,
    licence: str | None,
    run: Mapping[str, str],
    scores: Mapping[str, Any] | None,
    sections: Mapping[str, str] | None = None,
) -> str:
    """The card as Markdown; it says what is known of this model and nothing else.

    Args:
        codec: the model.
        name: under which it is found.
        licence: as the hub names it.
        run: how it was trained, fact by fact.
        scores: a ``summary.json``.
        sections: further ones by their headings; what is under "Limits" goes to the limits.
    """
    more = dict(sections or {})
    limits = more.pop("Limits", "")
    bits = f"{codec.bitrate_bps:.0f} bit/s"
    facts = {
        "Sample rate": f"{codec.sample_rate} Hz",
        "Tokens": f"{codec.frame_rate:g} a second, from one codebook of {codec.codebook_size}",
        "Rate": bits,
        "Parameters": f"{sum(parameter.numel() for parameter in codec.parameters()):,}",
        "Fingerprint": f"`{codec.fingerprint}`; of its tokens `{codec.token_fingerprint}`, which every `.svq` file "
        "made with it carries",
        **run,
    }
    head = ["---", f"license: {licence}" if licence else "license: unknown", "library_name: simvq-codec"]
    head += ["pipeline_tag: audio-to-audio", "tags: [speech, audio-codec, neural-codec, speech-tokenizer]", "---"]
    lines = [*head, "", f"# {name}", "", f"A speech codec with one codebook: {bits}.", ""]
    lines += ["| | |", "|---|---|", *(f"| {fact} | {value} |" for fact, value in facts.items()), ""]
    lines += ["## Use", "", "```python", "from codec import Codec, audio"]
    lines += [f'codec = Codec.from_pretrained("{name}")']
    lines += ['tokens = codec.encode(audio.load("speech.wav", codec.sample_rate))']
    lines += ['audio.write("back.wav", codec.decode(tokens)[0], codec.sample_rate)', "```", ""]
    lines += ["## Scores", "", *(_score_lines(scores) if scores else ["None were given with this model."]), ""]
    for heading, text in more.items():
        lines += [f"## {heading}", "", text.strip(), ""]
    lines += ["## Limits", "", "- Mono speech; several channels are mixed down."]
    if not codec.is_causal:
        lines.append("- The decoder looks at the whole utterance: recordings beyond 30 s are decoded in windows.")
    lines += ["- Speech unlike that of the training data may come back worse, or as another voice."]
    lines += [limits.strip()] if limits else []
    return "\n".join(lines) + "\n"


def _score_lines(scores: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Test set {scores['test_set']}: {scores['utterances']} utterances of {scores['speakers']} speakers, "
        f"{scores['duration_s'] / 60:.1f} minutes; protocol {scores['protocol']}. Means with 95 % intervals over "
        "utterances.",
        "",
        "| metric | mean | 95 % interval | scored | failed |",
        "|---|---|---|---|---|",
    ]
    for name, value in scores["metrics"].items():
        if value["mean"] is not None:
            interval = f"{value['ci95'][0]:.3f} to {value['ci95'][1]:.3f}" if value["ci95"] else ""
            lines.append(f"| {name} | {value['mean']:.3f} | {interval} | {value['n_ok']} | {value['n_failed']} |")
    return lines


def scores_of(codec: Codec, evaluation: Path | None) -> Mapping[str, Any] | None:
    """The summary of an evaluation, which must be of this model; None of None.

    Raises:
        CodecError: no finished evaluation, or one of another model.
    """
    if evaluation is None:
        return None
    scores = read_json(evaluation / "summary.json", "score the model with recipes/evaluate.py first")
    needed = {"test_set", "utterances", "speakers", "duration_s", "protocol", "metrics", "system"}
    if not needed <= scores.keys():
        raise CodecError(f"{evaluation}: no finished evaluation; score the model with recipes/evaluate.py first")
    if codec.fingerprint not in str(scores["system"]["identity"]):
        raise CodecError(
            f"{evaluation}: scores of {scores['system']['name']}, but this model is {codec.fingerprint}; "
            "give the evaluation of this model"
        )
    return scores


def run_facts(model: Path) -> dict[str, str]:
    """How a model was trained, from the run folder that it lies in, and from that where its training started.

    Nothing where it does not lie in one.

    Raises:
        CodecError: a run whose files cannot be read.
    """
    path = model.resolve().parent / RUN_FILE
    if not path.is_file():
        return {}
    config = load_run_config(path)
    data = config.data
    of = f"of {data.batch_size} crops of {data.crop_s:g} s"
    step = _step_of(model)
    if step is None:
        training = f"up to {config.training.steps:,} steps {of}; which step this model is of was not noted"
    else:
        hours = step * data.batch_size * data.crop_s / 3600
        training = f"{step:,} steps {of}: {hours:,.1f} hours of audio heard, with repetitions"
    facts = {"Training": training}
    minutes = _minutes(path.with_name(METRICS_FILE), step)
    if minutes is not None:
        facts["Training time"] = f"{minutes:,.0f} minutes"
    facts["Training data"] = ", ".join(map(_data_name, data.train or data.shards))
    if config.init_from is not None:
        facts["Training started from"] = "/".join(Path(config.init_from).parts[-2:])  # no path of this machine
        if Path(config.init_from).is_dir():
            facts |= {f"{name}, before that": value for name, value in run_facts(Path(config.init_from)).items()}
    return facts


def _minutes(metrics: Path, step: int | None) -> float | None:
    """Minutes of training up to a step, as the run logged them."""
    if step is None or not metrics.is_file():
        return None
    times = [0.0]
    for line in metrics.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # the last line of a run that was killed
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("step", step + 1) <= step and "time_s" in entry:
                times.append(float(entry["time_s"]))
    return max(times) / 60 or None


def _step_of(model: Path) -> int | None:
    path = model / TRAINING_FILE
    if not path.is_file():
        return None
    step = read_json(path, NO_STEP).get("step")
    if type(step) is not int or step < 0:
        raise CodecError(f"{path}: no step in it; {NO_STEP}")
    return step


def _data_name(source: str) -> str:
    """What a card may say of a manifest or of shards: no path of this machine, no command, no key of an address."""
    if source.startswith("pipe:"):
        return "shards fetched by a command"
    return Path(source.split("?")[0]).stem
