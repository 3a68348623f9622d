"""Weights that a run starts from: ``init_from``."""

from __future__ import annotations

import logging
from pathlib import Path

from codec.config import ModelConfig, RunConfig, build, differences
from codec.errors import CodecError
from codec.files import read_json
from codec.model import Codec
from codec.pretrained import CONFIG_FILE, check_sums, find_model, load_weights, read_model_weights
from codec.training.checkpoint import CONFIG

logger = logging.getLogger(__name__)


# Settings of the encoder that the other parts are made for: their width, and how long a frame is.
EVERYBODYS = ("model.encoder.latent_dim", "model.encoder.strides", "model.encoder.stem_stride")


def start_from(codec: Codec, config: RunConfig, model: str, *, main_process: bool = True) -> None:
    """Put weights of another model in the place of the codec's own, and say what of them the run will not keep.

    Args:
        codec: of ``config.model``.
        config: of the run.
        model: folder or name.
        main_process: whether this one warns.

    Raises:
        CodecError: no such model, a damaged one, or parts of other sizes; the settings that differ are named.
    """
    where, parts = f"init_from={model}", config.init_parts
    folder = find_model(model)
    check_sums(folder)
    settings = folder / CONFIG_FILE
    other = build(ModelConfig, read_json(settings, "give the folder of a model"), str(settings))
    found = [
        f"{name}={was!r}, here {now!r}"
        for name, was, now in differences(other, config.model, "model")
        if name.count(".") < 2 or name.split(".")[1] in parts or name in EVERYBODYS
    ]
    given = {name: value for name, value in read_model_weights(folder).items() if name.split(".")[0] in parts}
    kept = {name: value for name, value in codec.state_dict().items() if name.split(".")[0] not in parts}
    try:
        load_weights(codec, given | kept, where)
    except CodecError as error:
        differing = "; ".join(found) or "none"
        raise CodecError(f"{error}; settings that differ there: {differing}; {_advice(folder)}") from None
    if not main_process:
        return
    if found:
        logger.warning(
            "%s: was trained with other settings, which its weights may not suit: %s", where, "; ".join(found)
        )
    warmup = config.training.bottleneck_warmup
    steps = round(warmup.share * config.training.steps)
    if steps and "quantizer" in parts:
        logger.warning(
            "%s: its codebook is given up and set anew after %d steps (training.bottleneck_warmup.share=%g); "
            "training.bottleneck_warmup.share=0.0 keeps it",
            where,
            steps,
            warmup.share,
        )
    if not steps and "quantizer" not in parts:
        logger.warning(
            "%s: the bottleneck of its own begins at random, under latents that are not; with a "
            "training.bottleneck_warmup.share of a few steps it is set from them",
            where,
        )


def _advice(folder: Path) -> str:
    """Where settings are that fit the model of a folder."""
    for config in (folder / CONFIG, folder.parent / CONFIG):  # of a shared model; of a run's best/
        if config.is_file():
            return f"--config {_near(config)} has its sizes"
    return f"set model as in {_near(folder / CONFIG_FILE)}"


def _near(path: Path) -> str:
    """As somebody here would type it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
