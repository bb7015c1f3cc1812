"""Which engine a plan is made for where nobody names one."""

from typing import Final, NamedTuple

from core.basics.words import with_article
from core.models import ModelSpec
from core.products import engines
from core.products.architectures import unrunnable
from core.products.engines import DEFAULT
from core.products.formats import FORMATS
from core.products.gpus import GpuSpec

_SIXTEEN: Final = 16.0


class Usual(NamedTuple):
    """An engine, and why it is that one; no words where it is the default everywhere."""

    engine: str
    why: str


def usual_engine(spec: ModelSpec, gpu: GpuSpec) -> Usual:
    """What people run on the card, unless it has no code for the model or cannot load what its repository ships."""
    usual = engines.find(engines.usual(gpu.name))
    if usual.name == DEFAULT:
        return Usual(DEFAULT, "")
    card = f"{usual.label} is what most people run on {with_article(gpu.name)}"
    default = engines.find(DEFAULT)
    if unrunnable(spec.family, usual.name):
        return Usual(DEFAULT, f"{card}, but it has no code for this model, so {default.label} is planned.")
    shipped = spec.shipped.format if spec.shipped else ""
    quantised = bool(shipped) and FORMATS[shipped].bits_per_weight < _SIXTEEN
    if quantised and not engines.loads(usual.formats, shipped) and gpu.vendor in default.vendors:
        loads = f"it does not load {FORMATS[shipped].label} checkpoints"
        return Usual(DEFAULT, f"{card}, but {loads}, so {default.label} is planned.")
    return Usual(usual.name, f"{card}; another can be named.")
