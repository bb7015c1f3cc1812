"""Many visitors at once, on loopback: `make load`.

Every visitor is a real session of Streamlit over its websocket (tests/visitor.py) that changes an input every few
seconds, as people do. Prints one line a scene: how long changed verdicts took, what failed, how the server's memory
grew. The Hub's troubles are a stand-in's (tests/hub_server.py). Run it on an otherwise idle machine.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.bench_ui import resident_mb
from tests.conftest import Served, serve
from tests.hub_server import HubServer, Repo, Trouble, llama
from tests.visitor import Visitor

PAUSE_S = (4.0, 12.0)          # a person reads before changing something
PAGES = ("/", "/", "/", "/compare", "/regime", "/catalogue", "/saved", "/accuracy")
MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "mistralai/Mistral-7B-v0.1", "openai/gpt-oss-20b")
GPUS = ("L4", "L40S", "A100 SXM4 80GB", "H200 SXM 141GB", "GeForce RTX 4090")
ASKS_HUB = 8                   # every so many visitors plans a model that only the Hub knows
HUB_MODEL = "load/only-on-the-hub"
SLOW_S = 10.0
GOAL_S, GOAL_GROWTH = 1.5, 0.05


@dataclass
class Heard:
    """What happened to all visitors of a scene."""

    seconds: list[float] = field(default_factory=list)         # until each changed verdict, bundled models
    of_the_hub: int = 0                                        # answers about the model of the Hub
    failures: list[str] = field(default_factory=list)
    memory_mb: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    """One row of the table."""

    name: str
    trouble: Trouble
    seconds: float


async def visit(number: int, address: str, scene: Scene, heard: Heard, start: float) -> None:
    """One person: arrives, changes inputs until time is up, notes what goes wrong."""
    dice = random.Random(number)
    await asyncio.sleep(dice.uniform(0, PAUSE_S[1]))
    try:
        asks_hub = number % ASKS_HUB == 0
        path = f"/?model={HUB_MODEL}" if asks_hub else dice.choice(PAGES)
        async with Visitor(address, path) as visitor:
            await visitor.run()
            while time.perf_counter() - start < scene.seconds:
                await asyncio.sleep(dice.uniform(*PAUSE_S))
                label, value = change(dice, asks_hub)
                seconds = await visitor.change(label, value)
                if asks_hub:
                    heard.of_the_hub += 1
                else:
                    heard.seconds.append(seconds)
                    heard.failures += [sentence[:90] for sentence in visitor.sentences() if "wrong" in sentence]
                told = visitor.verdict or (asks_hub and visitor.sentences())
                if visitor.found("exception") or not told:
                    heard.failures.append(f"no verdict on {path} after {label} = {value}")
    except Exception as error:
        heard.failures.append(f"{type(error).__name__}: {error}"[:90])


def change(dice: random.Random, asks_hub: bool) -> tuple[str, object]:
    """An input and what it becomes."""
    return dice.choice([
        ("Requests in flight", dice.randint(1, 256)),
        ("Requests in flight", dice.randint(1, 256)),
        ("Prompt tokens", dice.randint(1, 32) * 256),
        ("Answer tokens", dice.randint(1, 16) * 64),
        ("GPU", dice.choice(GPUS)),
        ("TPOT target, ms", dice.randint(10, 100)) if asks_hub else ("Model", dice.choice(MODELS)),
    ])


async def crowd(address: str, visitors: int) -> tuple[list[float], int]:
    """Visitors who come in one instant: seconds until each one's verdict, in order, and how many got none."""
    start = time.perf_counter()

    async def first_look() -> float | None:
        async with Visitor(address, "/") as visitor:
            connected = time.perf_counter() - start
            seconds = await visitor.run()
            return connected + seconds if visitor.verdict else None

    seen = await asyncio.gather(*(first_look() for _ in range(visitors)), return_exceptions=True)
    answered = sorted(seconds for seconds in seen if isinstance(seconds, float))
    return answered, visitors - len(answered)


async def watch(app: Served, heard: Heard, start: float, seconds: float) -> None:
    """The server's memory, once a second."""
    while (now := time.perf_counter() - start) < seconds:
        heard.memory_mb.append((now, resident_mb(app.pid)))
        await asyncio.sleep(1)


async def drive(app: Served, scene: Scene, visitors: int) -> Heard:
    """All visitors of a scene at once."""
    heard, start = Heard(), time.perf_counter()
    people = [visit(number, app.url, scene, heard, start) for number in range(visitors)]
    await asyncio.gather(watch(app, heard, start, scene.seconds), *people)
    return heard


@contextmanager
def served(trouble: Trouble) -> Iterator[Served]:
    """The app over a Hub with that trouble and nothing kept."""
    repos = {HUB_MODEL: Repo(llama(hidden=2048, layers=16))}
    with (
        tempfile.TemporaryDirectory() as folder,
        HubServer(repos, trouble) as hub,
        serve(SWEETSPOT_HUB_ENDPOINT=hub.url, SWEETSPOT_DATA=folder, SWEETSPOT_PUBLIC="1") as app,
    ):
        yield app


def growth(samples: list[tuple[float, float]], seconds: float) -> tuple[float, float]:
    """The most memory of the second half [MB], and how much more its last fifth holds than its first."""
    late = [mb for at, mb in samples if at >= seconds / 2]
    fifth = max(len(late) // 5, 1)
    first, last = sum(late[:fifth]) / fifth, sum(late[-fifth:]) / fifth
    return max(late), last / first - 1


def told(scene: Scene, heard: Heard, visitors: int) -> str:
    """A row of the table."""
    times = sorted(heard.seconds) or [float("nan")]
    middle, late = times[len(times) // 2], times[int(0.95 * len(times))]
    most, grown = growth(heard.memory_mb, scene.seconds)
    return (f"{scene.name:24} {visitors:8} {len(heard.seconds):8} {middle:9.2f} {late:8.2f} {times[-1]:8.2f} "
            f"{len(heard.failures):7} {heard.of_the_hub:9} {most:8.0f} {grown:+8.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0, help="of the first scene; the Hub's troubles a third")
    parser.add_argument("--crowd", type=int, default=200, help="visitors who come in one instant")
    arguments = parser.parse_args()
    short = arguments.seconds / 3
    scenes = [
        Scene("all is well", Trouble(), arguments.seconds),
        Scene("Hub down", Trouble(status=503), short),
        Scene(f"Hub slow, {SLOW_S:.0f} s", Trouble(delay_s=SLOW_S), short),
        Scene("Hub limits the rate", Trouble(status=429, headers={"Retry-After": "60"}), short),
    ]
    print(f"{'scene':24} visitors  changes  median,s   p95,s    max,s  failed  Hub asks  peak MB   growth")
    for scene in scenes:
        with served(scene.trouble) as app:
            heard = asyncio.run(drive(app, scene, arguments.visitors))
        print(told(scene, heard, arguments.visitors), flush=True)
        for failure in sorted(set(heard.failures)):
            print(f"    {heard.failures.count(failure)} x {failure}")
    with served(Trouble()) as app:
        asyncio.run(crowd(app.url, 1))          # the server is warm, as one is that people come to
        times, dropped = asyncio.run(crowd(app.url, arguments.crowd))
    print(f"{arguments.crowd} in one instant: first verdict {times[0]:.2f} s, median {times[len(times) // 2]:.2f} s, "
          f"last {times[-1]:.2f} s, {dropped} without one")
    print(f"goals: none failed, p95 < {GOAL_S} s, memory of the second half grows < {GOAL_GROWTH:.0%}")


if __name__ == "__main__":
    main()
