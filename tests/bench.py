"""`make bench`: how fast the planner answers, beside its targets; best of several runs. Then the app in a browser."""

import csv
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from core.answers import compare
from core.answers.advice import best_over_gpus, recommend
from core.answers.sweep import sweep
from core.delivery import estimate
from core.physics import speed
from core.physics.ask import Load, desk
from core.products import gpus
from core.products.formats import FORMATS, KV_FORMATS
from core.reading import catalogue, hub
from core.terms import Deployment, Workload
from tests import bench_ui
from tests.hub_server import HubServer, sharded

CASES = 10_000
GPUS = ("H100 SXM5 80GB", "A100 SXM4 80GB", "L40S", "GeForce RTX 4090", "B200 SXM 180GB")
MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-32B", "openai/gpt-oss-20b", "meta-llama/Llama-3.1-70B")


def once_s(work: Callable[[], object]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best_s(work: Callable[[], object], runs: int = 5) -> float:
    """Seconds of the fastest of several runs, after one that fills the caches."""
    work()
    return min(once_s(work) for _ in range(runs))


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


def grid_cases() -> speed.Cases:
    """150 deployments of one model x 80 loads."""
    spec = catalogue.load(MODELS[0])
    assert spec is not None
    pairs = tuple(
        (spec, Deployment(gpus.find(gpu), FORMATS[weights], KV_FORMATS["bf16"], tp=tp))
        for gpu in GPUS[:3] for weights in ("fp16", "fp8", "awq-int4", "gptq-int8", "nvfp4") for tp in (1, 2, 4, 8)
    )
    which, batch, context = (axis.ravel() for axis in np.meshgrid(
        np.arange(150), 2.0 ** np.arange(10), 2.0 ** np.arange(9, 17), indexing="ij"))
    return desk((pairs * 3)[:150]).cases(Load(False, batch, context * 0.75, context * 0.25), which, endless=True)


def shards_s() -> tuple[float, float]:
    """Seconds to read a model of 60 shards, shard by shard over loopback, and from disk a second time."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, SWEETSPOT_DATA=folder), \
            HubServer({"org/moe": sharded(one_answer=False)}) as server:
        def read() -> object:
            return hub.resolve("org/moe", endpoint=server.url)

        return once_s(read), once_s(read)


def main() -> None:
    """Prints one line a figure."""
    cards = catalogue.models()
    models = once_s(lambda: [catalogue.load(card.name) for card in cards])
    table = best_s(gpus.catalogue.__wrapped__)
    names = best_s(lambda: [gpus.find("NVIDIA H100 80GB HBM3") for _ in range(1000)])
    cases = grid_cases()
    predicted = best_s(lambda: speed.predict(cases))
    shards, again = shards_s()
    count, rows = len(gpus.catalogue()), len(cases.which)
    print(f"{len(cards)} models, first read   {models * 1e3:8.0f} ms   target < 2000 ms  {len(cards) / models:,.0f}/s")
    print(f"table of {count} GPUs        {table * 1e3:8.0f} ms   target < 20 ms    {table / names:.1f} x 1,000 finds")
    print(f"prediction, {rows:,} rows  {predicted * 1e3:8.0f} ms   target < 40 ms    {rows / predicted:,.0f} rows/s")
    print(f"60 shards over loopback  {shards * 1e3:8.0f} ms   target < 3000 ms  {shards / again:.1f} x from disk")
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
        asked, out = Path(folder) / "cases.csv", Path(folder) / "estimates.csv"
        write_cases(asked)
        filed = best_s(lambda: estimate.answer_file(asked, out, lambda name: hub.resolve(name, offline=True)), runs=2)
    print(f"grid of {points:,} points    {grid * 1e3:8.0f} ms   target < 50 ms    {points / grid:,.0f} points/s")
    print(f"recommendation           {one * 1e3:8.0f} ms   target < 300 ms   {grid / one:.1f} x a grid")
    print(f"best of {count} GPUs         {fleet * 1e3:8.0f} ms   target < 500 ms   {fleet / grid:.1f} grids")
    rivals = len(layouts.candidates.deployments)
    both = (board + field) * 1e3
    print(f"comparison of {rivals:,}     {both:8.0f} ms   target < 1000 ms  {board / field:.1f} x one load")
    print(f"estimate of {CASES:,} rows  {filed * 1e3:8.0f} ms   target < 5000 ms  {CASES / filed:,.0f} rows/s")
    bench_ui.main()


if __name__ == "__main__":
    main()
