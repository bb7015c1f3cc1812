"""`make bench`: how fast the planner answers, beside its targets; best of several runs. Then the app in a browser."""

import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core import catalogue, compare, estimate, gpus, hub
from core.advice import best_over_gpus, recommend
from core.sweep import sweep
from core.terms import Workload
from tests import bench_ui

CASES = 10_000
GPUS = ("H100 SXM5 80GB", "A100 SXM4 80GB", "L40S", "GeForce RTX 4090", "B200 SXM 180GB")
MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-32B", "openai/gpt-oss-20b", "meta-llama/Llama-3.1-70B")


def best_s(work: Callable[[], object], runs: int = 5) -> float:
    """Seconds of the fastest of several runs, after one that fills the caches."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def write_cases(path: Path) -> None:
    """Mixed deployments: models x GPUs x formats x layouts x loads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "model", "gpu", "tp", "weights", "mode", "concurrency",
                         "input_tokens", "output_tokens"])
        for n in range(CASES):
            writer.writerow((
                n, MODELS[n % 4], GPUS[n // 4 % 5], 2 ** (n // 20 % 4), ("bf16", "fp8", "int8")[n // 80 % 3],
                ("serving", "static")[n % 2], 1 + n % 257, 128 + n % 4096, 16 + n % 1024,
            ))


def main() -> None:
    """Prints one line a figure."""
    spec, gpu, workload = catalogue.load(MODELS[0]), gpus.find(GPUS[0]), Workload()
    assert spec is not None
    points = len(sweep(spec, gpu, workload))
    grid = best_s(lambda: sweep(spec, gpu, workload))
    one = best_s(lambda: recommend(spec, gpu, workload))
    fleet = best_s(lambda: best_over_gpus(spec, workload))
    layouts = compare.board(spec, gpus.catalogue(), ["vllm"])
    board = best_s(lambda: compare.board(spec, gpus.catalogue(), ["vllm"]))
    field = best_s(lambda: compare.compare(layouts, workload))
    with tempfile.TemporaryDirectory() as folder:
        cases, out = Path(folder) / "cases.csv", Path(folder) / "estimates.csv"
        write_cases(cases)
        rows = best_s(lambda: estimate.answer_file(cases, out, lambda name: hub.resolve(name, offline=True)), runs=2)
    print(f"grid of {points:,} points    {grid * 1e3:8.0f} ms   target < 50 ms    {points / grid:,.0f} points/s")
    print(f"recommendation           {one * 1e3:8.0f} ms   target < 300 ms   {grid / one:.1f} x a grid")
    cards = len(gpus.catalogue())
    print(f"best of {cards} GPUs         {fleet * 1e3:8.0f} ms   target < 500 ms   {fleet / grid:.1f} grids")
    rivals = len(layouts.candidates.deployments)
    both = (board + field) * 1e3
    print(f"comparison of {rivals:,}     {both:8.0f} ms   target < 1000 ms  {board / field:.1f} x one load")
    print(f"estimate of {CASES:,} rows  {rows * 1e3:8.0f} ms   target < 5000 ms  {CASES / rows:,.0f} rows/s")
    bench_ui.main()


if __name__ == "__main__":
    main()
