"""A key for caches over model specs: the object itself, not its thousands of fields."""

from dataclasses import dataclass

from core.models import ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class SpecKey:
    """Equal when it holds the same `ModelSpec` object; holding it keeps the identity valid."""

    spec: ModelSpec

    def __hash__(self) -> int:
        return id(self.spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpecKey) and other.spec is self.spec
