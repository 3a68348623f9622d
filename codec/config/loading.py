"""YAML files, their bases and overrides, to settings and back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from codec.config.base import Config, Settings, build
from codec.config.model import preset_sizes
from codec.config.plugins import load_plugins
from codec.config.quantizers import DEFAULT_SYSTEM, SYSTEMS
from codec.config.run import RunConfig
from codec.errors import CodecError


class _Loader(yaml.SafeLoader):
    """YAML that reads 3e-4 as a number and ``no`` as a word. PyYAML follows YAML 1.1: 3.0e-4, and ``no`` is false."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's way
        first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: plain values only


def load_run_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML file and apply ``section.key=value`` overrides (values in YAML syntax).

    Raises:
        CodecError: file missing or not YAML, unknown key, wrong type, malformed override.
    """
    data = _read_with(path, overrides)
    model = data.get("model", {})
    if isinstance(model, dict) and "preset" in model:
        rest = {key: value for key, value in model.items() if key != "preset"}
        data = {**data, "model": merge(preset_sizes(model["preset"]), rest)}
    return build(RunConfig, data, str(path))


def load_config(kind: type[Config], path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The same for other settings than a codec's run.

    Raises:
        CodecError: as :func:`load_run_config`.
    """
    return build(kind, _read_with(path, overrides), str(path))


def _read_with(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    load_plugins()
    over: dict[str, Any] = {}
    for item in overrides:
        over = merge(over, _parse_override(item))
    return _merge_runs(read_yaml(Path(path)), over)


def read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML mapping on top of the file that its ``base`` names."""
    if path.resolve() in seen:
        raise CodecError(f"{path}: the files named by 'base' form a circle; remove one of them")
    try:
        data = _parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CodecError(f"{path}: cannot read the settings ({error.strerror}); give an existing YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CodecError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise CodecError(f"{path}: expected a mapping of settings, got {type(data).__name__}")
    base = data.pop("base", None)
    if base is None:
        return data
    return _merge_runs(read_yaml(path.parent / str(base), (*seen, path.resolve())), data)


def _parse_override(item: str) -> dict[str, Any]:
    key, sign, text = item.partition("=")
    if not sign or not all(key.split(".")):
        raise CodecError(f"override {item!r}: expected section.key=value, for example training.steps=1000")
    try:
        value: Any = _parse_yaml(text)
    except yaml.YAMLError:
        raise CodecError(f"override {item!r}: {text!r} is not a YAML value") from None
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _merge_runs(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge; where ``over`` names another bottleneck, the settings of the one before go with it.

    A resolved ``config.yaml`` says every one of them. What the new one does not know goes, and what was at its default:
    the new one has defaults of its own (``lfq`` for the commitment). The number of codes stays.
    """
    before, now = _quantizer(base), _quantizer(over)
    old, new = SYSTEMS.get(str(before.get("name", DEFAULT_SYSTEM))), SYSTEMS.get(str(now.get("name")))
    if old and new and new is not old:
        defaults = {key: to_jsonable_python(field.default, fallback=str) for key, field in old.model_fields.items()}
        goes = {key for key in defaults if key not in new.model_fields or before.get(key) == defaults[key]}
        kept = {key: value for key, value in before.items() if key == "codebook_size" or key not in goes}
        base = {**base, "model": {**base.get("model", {}), "quantizer": kept}}
    return merge(base, over)


def _quantizer(settings: dict[str, Any]) -> dict[str, Any]:
    model = settings.get("model")
    quantizer = model.get("quantizer") if isinstance(model, dict) else None
    return quantizer if isinstance(quantizer, dict) else {}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``, mapping by mapping; everything else is replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def dump_yaml(config: Settings) -> str:
    """The resolved settings as YAML, every key written out."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False)
