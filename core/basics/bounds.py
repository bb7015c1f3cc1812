"""What a number may be, and the one sentence that says when it is not."""

from dataclasses import dataclass

from core.basics.errors import InputError


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most a number may be, both allowed; `unit` as it stands behind the number."""

    low: float
    high: float
    unit: str = ""
    whole: bool = False

    @property
    def span(self) -> str:
        """The range in words: "1 to 8192 GiB"."""
        return f"{figure(self.low)} to {figure(self.high)}{self.unit and f' {self.unit}'}"

    def holds(self, value: float) -> bool:
        """Whether a number is what it may be; NaN is not."""
        return self.low <= value <= self.high and not (self.whole and value != int(value))

    def checked(self, name: str, value: float) -> float:
        """The value. Raises InputError naming it and its range where it is outside, or not whole; NaN is outside."""
        return self._within(f"{name} of {figure(value)}{self.unit and f' {self.unit}'} is", value)

    def read(self, name: str, text: str) -> float:
        """The number that a text stands for. Raises InputError where it is none, or not within the range."""
        said = f"{name} is '{text[:40]}',"
        try:
            return self._within(said, float(text))
        except ValueError:
            raise InputError(f"{said} no number: give one from {self.span}.") from None

    def _within(self, said: str, value: float) -> float:
        if not self.low <= value <= self.high:
            raise InputError(f"{said} outside {self.span}.")
        if self.whole and value != int(value):
            raise InputError(f"{said} no whole number: give one from {self.span}.")
        return value


def figure(value: float) -> str:
    """A number as it is typed, with commas from five digits on: 0.001, 8192, 1,000,000."""
    if abs(value) < 1e9 and value == int(value):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"
    return f"{value:g}"
