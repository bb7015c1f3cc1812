"""Which weights of a case stay with the host, as its cells say it in llama.cpp's words."""

import re
from typing import Final

from core.basics.errors import InputError
from core.delivery.estimate.rows import Setup
from core.models import ModelSpec
from core.products import cpus
from core.products.cpus import Host
from core.terms import Placement

_WORD: Final = re.compile(r"(ncmoe|ngl)=(all|\d{1,4})")
_USUAL_GB_S: Final = 76.8        # two channels of DDR5-4800, where neither processor nor memory are stated


def hosting(setup: Setup, spec: ModelSpec) -> tuple[Host | None, Placement | None]:
    """What holds weights besides the GPU, and which; (None, None) where the GPU holds all.

    Raises InputError for words that are not known, and for a processor that is not.
    """
    said, on_cpu = setup.placement, setup.gpu.lower() in (cpus.NONE, "cpu")
    if not said and not on_cpu:
        return None, None
    host = _host(setup)
    layers = spec.n_layers
    if said == "cpu" or (on_cpu and not said):
        return host, Placement(layers, 0)
    if said == "auto":
        return host, None
    words = dict(word for word in _WORD.findall(said))
    if not words:
        raise InputError(f"placement is '{said[:40]}': use ncmoe=N, ngl=N, both with a comma, auto or cpu.")
    count = {name: layers + 1 if value == "all" else int(value) for name, value in words.items()}
    return host, Placement(count.get("ncmoe", 0), count.get("ngl", layers + 1))


def _host(setup: Setup) -> Host:
    if setup.cpu and setup.cpu != "not stated":
        return cpus.find(setup.cpu, setup.cpu_bandwidth_gb_s)
    return cpus.typed(setup.cpu_bandwidth_gb_s or _USUAL_GB_S)
