"""What all settings share: strict types, and errors that name the key."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codec.config.plugins import VARIABLE, load_plugins
from codec.errors import CodecError

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=4_000_000_000)]  # numpy's end at 2^32 - 1, and each process adds its number
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, strict, unknown keys forbidden."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Plain settings with the values of those that are not said but follow from others. Here: none do."""
        return data


Config = TypeVar("Config", bound=Settings)


def build(kind: type[Config], data: Any, where: str = "settings") -> Config:
    """Check plain data (from JSON or YAML) against ``kind``.

    Raises:
        CodecError: unknown key, wrong type or value; the message names key, value and what was expected.
    """
    load_plugins()
    if not isinstance(data, dict):
        raise CodecError(f"{where}: expected a mapping of settings, got {type(data).__name__}")
    try:
        # JSON mode: strict about scalars, and a list is what a tuple is written as.
        return kind.model_validate_json(json.dumps(kind.complete(data)), strict=True)
    except ValidationError as error:
        raise CodecError(f"{where}: " + "; ".join(_explain(kind, item) for item in error.errors())) from None
    except TypeError as error:
        raise CodecError(f"{where}: {error}; settings are numbers, strings, lists and mappings") from None


def differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The keys at which two settings (or parts of their ``model_dump()``) differ.

    Args:
        old: one.
        new: the other.
        key: what both are called, in front of what is found.

    Yields:
        (key, old value, new value), None for a value that one of them does not have.
    """
    if isinstance(old, Settings) and isinstance(new, Settings):
        old, new = old.model_dump(), new.model_dump()
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield key, old, new


def _explain(kind: type[Settings], item: Any) -> str:
    loc, parent = _follow(kind, item["loc"])
    key = ".".join(str(part) for part in loc) or "settings"
    if item["type"] == "extra_forbidden":
        known = list(parent.model_fields) if parent else []
        prefix = "".join(f"{part}." for part in loc[:-1])
        return f"unknown setting {key}; {_nearest(str(loc[-1]), known, prefix)}"
    if item["type"] == "union_tag_invalid":
        tags = re.findall(r"'([^']*)'", item["ctx"]["expected_tags"])
        own = f"; one of your own is known once {VARIABLE} names the module that registers it"
        return f"{key}.name={item['ctx']['tag']!r} is not known; {_nearest(item['ctx']['tag'], tags, '')}{own}"
    if item["type"] == "value_error":
        return item["msg"].removeprefix("Value error, ")
    return f"{key}={item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _nearest(wrong: str, known: list[str], prefix: str) -> str:
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"did you mean {prefix}{close[0]}?" if close else f"known here: {', '.join(known)}"


def _follow(kind: type[Settings], loc: Sequence[str | int]) -> tuple[list[str | int], type[Settings] | None]:
    """An error's place as the user writes it, and the settings that its last part would be a key of.

    Of several kinds of settings in one place, pydantic names the chosen one in the path.
    """
    written: list[str | int] = []
    here: type[Settings] | None = kind
    choices: dict[str, type[Settings]] = {}
    parent: type[Settings] | None = None
    for part in loc:
        if part in choices:
            here, choices = choices[str(part)], {}
            continue
        written.append(part)
        if isinstance(part, int):  # an item of a list
            continue
        parent, choices = here, {}
        field = here.model_fields.get(part) if here else None
        members = _settings_in(field.annotation) if field else []
        here = members[0] if len(members) == 1 else None
        if len(members) > 1:
            choices = {str(member.model_fields["name"].default): member for member in members}
    return written, parent


def _settings_in(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Settings) else []
    return [kind for part in get_args(annotation) for kind in _settings_in(part)]
