"""What people ask models for: lengths, prefix hits and targets to start from, each with its source."""

from dataclasses import dataclass, replace
from typing import Annotated, Final

from core.basics import tables
from core.basics.tables import Within
from core.basics.units import MS_PER_S
from core.terms import Workload

_TOKENS: Final = Within(1, 1_000_000)
_TARGET_MS: Final = Within(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class UseCase:
    """A kind of load: assets/use_cases.csv."""

    name: str
    input_tokens: Annotated[int, _TOKENS]
    output_tokens: Annotated[int, _TOKENS]
    prefix_hit_rate: Annotated[float, Within(0, 1)]
    ttft_slo_ms: Annotated[float, _TARGET_MS]
    tpot_slo_ms: Annotated[float, _TARGET_MS]
    source: str

    def of(self, load: Workload) -> Workload:
        """A load with these lengths, hits and targets; requests and accepted loss stay."""
        return replace(
            load, input_tokens=self.input_tokens, output_tokens=self.output_tokens,
            prefix_hit_rate=self.prefix_hit_rate, ttft_slo_s=self.ttft_slo_ms / MS_PER_S,
            tpot_slo_s=self.tpot_slo_ms / MS_PER_S,
        )


USE_CASES: Final = tables.Table("use_cases.csv", UseCase)


def use_case(load: Workload) -> UseCase | None:
    """The use case a load is of; None where no row has its lengths, hits and targets."""
    return next((case for case in USE_CASES.values() if case.of(load) == load), None)
