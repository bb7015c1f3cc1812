"""The keys of a config.json, read with the defaults of its family and checked against sane ranges."""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from core.basics import tables
from core.basics.errors import ConfigInvalid
from core.basics.tables import Json

_MISSING: Final = object()

MAX_SIZE: Final = 2**24  # largest width, vocabulary or rank that is believed
MAX_CONTEXT: Final = 2**31  # tokens
MAX_LAYERS: Final = 4096
MAX_COUNT: Final = 2**20  # heads, experts


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """What a family's config class does with keys: assets/models_defaults.csv."""

    family: str
    defaults: Json             # key -> value where it is absent
    aliases: Json              # other name of a key -> the key
    parts: Json                # key of a sub-config -> its family
    source: str


_FACTS: Final = tables.Table("models_defaults.csv", ClassFacts, "family")
_NO_FACTS: Final = ClassFacts("", Json({}), Json({}), Json({}), "")


def knows(family: str) -> bool:
    """Whether the defaults of that family are in the table."""
    return family in _FACTS


class Keys:
    """One (sub-)config. A key absent takes the family's class default; an explicit null stays null.

    Raises: ConfigInvalid with one sentence naming the key and what it may be.
    """

    def __init__(self, values: Mapping[str, object], family: str, where: str = "") -> None:
        self.values = values
        self.family = family
        self.where = where
        facts = _FACTS.get(family, _NO_FACTS)
        self._defaults, self._aliases, self._parts = facts.defaults, facts.aliases, facts.parts

    def __contains__(self, name: str) -> bool:
        """Whether the file itself gives the key a value."""
        return self._given(name) not in (_MISSING, None)

    def _given(self, name: str) -> object:
        if name in self.values:
            return self.values[name]
        if (real := self._aliases.get(name)) is not None and real in self.values:
            return self.values[real]
        for alias, real in self._aliases.items():
            if real == name and alias in self.values:
                return self.values[alias]
        return _MISSING

    def _get(self, names: tuple[str, ...], default: object) -> object:
        for name in names:
            if (value := self._given(name)) is not _MISSING:
                return value
        for name in names:
            name = self._aliases.get(name, name)
            if name in self._defaults:
                return self._defaults[name]
        return default

    def fail(self, name: str, value: object, wanted: str) -> ConfigInvalid:
        """The error for a key whose value cannot be used."""
        huge = isinstance(value, int) and value.bit_length() > 128
        shown = "an enormous number" if huge else reprlib.repr(value)[:80]
        return ConfigInvalid(f"config.json: '{self.where}{name}' is {shown}; it must be {wanted}.")

    def _whole(self, name: str, value: object, low: int, high: int) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(name, value, f"a whole number from {low} to {high}")
        return value

    def size(self, *names: str, low: int = 1, high: int = MAX_SIZE) -> int:
        """A whole number that must be there, in the file or in the family's defaults."""
        value = self._get(names, _MISSING)
        if value is _MISSING or value is None:
            raise ConfigInvalid(f"config.json lacks '{self.where}{names[0]}'; it must be a whole number.")
        return self._whole(names[0], value, low, high)

    def size_or(self, default: int, *names: str, low: int = 0, high: int = MAX_SIZE) -> int:
        """A whole number; absent and null both mean `default`."""
        value = self._get(names, None)
        return default if value is None else self._whole(names[0], value, low, high)

    def optional(self, *names: str, low: int = 0, high: int = MAX_CONTEXT) -> int | None:
        """A whole number or None."""
        value = self._get(names, None)
        return None if value is None else self._whole(names[0], value, low, high)

    def count(self, default: int, *names: str, low: int = 0) -> int:
        """A number of heads or experts, perhaps said layer by layer but alike; absent and null mean `default`."""
        value = self._get(names, None)
        if isinstance(value, list) and 0 < len(value) <= MAX_LAYERS and value.count(value[0]) == len(value):
            value = value[0]    # Hunyuan-A13B: moe_topk
        return default if value is None else self._whole(names[0], value, low, MAX_COUNT)

    def number(self, default: float, *names: str, low: float = 0.0, high: float = 1e9) -> float:
        """A finite number; absent and null both mean `default`."""
        value = self._get(names, None)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.fail(names[0], value, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, *names: str, default: bool = False) -> bool:
        """True or false; absent and null both mean `default`."""
        value = self._get(names, None)
        if value is None:
            return default
        if not isinstance(value, bool) and value not in (0, 1):
            raise self.fail(names[0], value, "true or false")
        return bool(value)

    def text(self, *names: str, default: str = "") -> str:
        """A string; absent and null both mean `default`."""
        value = self._get(names, None)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.fail(names[0], value, "a string")
        return value

    def _list(self, names: tuple[str, ...], kind: type, what: str) -> list[Any] | None:
        value = self._get(names, None)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > MAX_LAYERS:
            raise self.fail(names[0], value, f"a list of at most {MAX_LAYERS} {what}")
        for item in value:
            if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool):
                raise self.fail(names[0], item, f"a list of {what}")
        return value

    def whole_numbers(self, *names: str, low: int = -1, high: int = MAX_SIZE) -> list[int] | None:
        """A list of whole numbers or None."""
        value = self._list(names, int, "whole numbers")
        return None if value is None else [self._whole(names[0], item, low, high) for item in value]

    def texts(self, *names: str) -> list[str] | None:
        """A list of strings or None."""
        return self._list(names, str, "strings")

    def is_list(self, name: str) -> bool:
        """Whether the key holds a list."""
        return isinstance(self._get((name,), None), list)

    def part(self, name: str, *, family: str | None = None) -> "Keys | None":
        """A nested config, read with the defaults of its own family; None when the file has none."""
        value = self._given(name)
        if value is _MISSING or value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.fail(name, value, "an object")
        said = value.get("model_type")
        default = family or self._parts.get(name, "")
        kind = said if isinstance(said, str) and (knows(said) or not default) else default
        return Keys(value, kind, f"{self.where}{name}.")

    def part_or_default(self, name: str) -> "Keys":
        """A nested config, all defaults when the file has none."""
        return self.part(name) or Keys({}, self._parts.get(name, ""), f"{self.where}{name}.")

    def by_layer(self, n: int) -> list["Keys"]:
        """The config as each of `n` layers sees it: transformers >= 5.17 writes what differs in `per_layer_config`."""
        said = self._given("per_layer_config")
        if said is _MISSING or said is None:
            return [self] * n
        if not isinstance(said, Mapping) or not all(isinstance(value, Mapping) for value in said.values()):
            raise self.fail("per_layer_config", said, "an object of objects, one per layer")
        places = {int(place): value for place, value in said.items() if str(place).isdecimal() and len(str(place)) < 9}
        if len(places) < len(said) or any(place >= n for place in places):
            raise self.fail("per_layer_config", sorted(said)[-1:], f"keyed by layers from 0 to {n - 1}")
        made: dict[str, Keys] = {}
        layers = [self] * n
        for place, value in places.items():
            alike = json.dumps(value, sort_keys=True, default=str)
            if alike not in made:
                made[alike] = Keys({**self.values, **value}, self.family, f"{self.where}per_layer_config.")
            layers[place] = made[alike]
        return layers

    def layers(self, *names: str) -> int:
        """The number of layers."""
        return self.size(*(names or ("num_hidden_layers",)), low=1, high=MAX_LAYERS)
