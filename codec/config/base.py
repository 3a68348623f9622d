"""What all settings share: strict types, and errors that name the key."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codec.errors import CodecError

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, strict, unknown keys forbidden."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Config = TypeVar("Config", bound=Settings)


def build(kind: type[Config], data: Any, where: str = "settings") -> Config:
    """Check plain data (from JSON or YAML) against ``kind``.

    Raises:
        CodecError: unknown key, wrong type or value; the message names key, value and what was expected.
    """
    if not isinstance(data, dict):
        raise CodecError(f"{where}: expected a mapping of settings, got {type(data).__name__}")
    try:
        # JSON mode: strict about scalars, and a list is what a tuple is written as.
        return kind.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise CodecError(f"{where}: " + "; ".join(_explain(kind, item) for item in error.errors())) from None
    except TypeError as error:
        raise CodecError(f"{where}: {error}; settings are numbers, strings, lists and mappings") from None


def _explain(kind: type[Settings], item: Any) -> str:
    path = [part for part in item["loc"] if isinstance(part, str)]
    key = ".".join(str(part) for part in item["loc"]) or "settings"
    if item["type"] == "extra_forbidden":
        known = _known_keys(kind, path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        prefix = "".join(f"{part}." for part in path[:-1])
        hint = f"did you mean {prefix}{close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"unknown setting {key}; {hint}"
    if item["type"] == "value_error":
        return item["msg"].removeprefix("Value error, ")
    return f"{key}={item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _known_keys(kind: type[Settings], path: Sequence[str]) -> list[str]:
    for part in path:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, Settings)):
            return []
        kind = annotation
    return list(kind.model_fields)
