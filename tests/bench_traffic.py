"""How fast traffic is simulated: `python -m tests.bench_traffic`.

One hour of 25,000 requests on one replica, the first look that a page waits for, and a whole study.
"""

import time
from collections.abc import Callable

from core.answers.traffic import PRESETS, Options, Question, Slo, first_look, generate, replica, simulate, study
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment

REQUESTS, HOUR_S = 25_000, 3600.0


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    assert spec is not None
    deployment = Deployment(gpus.find("H100 SXM5 80GB"), formats.find("fp8"), formats.find_kv("bf16"))
    one = replica(spec, deployment, Options())
    hour = generate(REQUESTS / HOUR_S, HOUR_S, PRESETS[0])
    asked = Question(spec, deployment, Options(), generate(40, 300, PRESETS[0]), Slo(1.0, 0.05))
    works: dict[str, Callable[[], object]] = {
        f"{len(hour):,} requests of one hour (aim < 5)": lambda: simulate(hour, one.steps, one.limits),
        "first look (aim < 1.5)": lambda: first_look(asked),
        f"whole study of {len(asked.trace):,} requests": lambda: list(study(asked, lambda share, note: None)),
    }
    for name, work in works.items():
        print(f"{name:42} {seconds(work):6.2f} s")


if __name__ == "__main__":
    main()
