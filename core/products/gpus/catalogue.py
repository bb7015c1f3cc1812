"""The bundled table of accelerators: read once, looked up by exact name or alias."""

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from core.basics.errors import HardwareError
from core.basics.units import GB, MIB, TERA
from core.products.gpus.prices import reference_price
from core.products.gpus.spec import GpuSpec
from core.products.gpus.tables import GpuRow, Span, cores_sold, gpu_rows, name_rows
from core.products.gpus.visible_memory import FREE_SHARE, engine_memory_mib

DEFAULT_GPU: Final = "H100 SXM5 80GB"
DTYPES: Final = ("fp32", "fp16", "bf16", "fp8", "int8", "fp4", "int4")
_BASIS: Final = {"datasheet": "published", "formula": "estimated", "announced": "estimated"}
_LINKED_GPUS: Final = 8          # GPUs of one machine, where the table says nothing

# Words that say who made a card, not which one it is.
_MAKERS: Final = frozenset({
    "nvidia", "tesla", "geforce", "amd", "instinct", "radeon", "intel", "apple", "aws", "google", "cloud", "huawei",
    "graphics", "generation", "r", "tm",
})
# What people add to a card's name: what kind of memory, that it is a GPU, that its edition is not known.
_ADDED: Final = re.compile(
    r"\b(gpus?|cards?|accelerators?|superchip|unstated|oam|hbm\d[ae]?|gddr\dx?)\b", re.IGNORECASE
)
_MEMORY: Final = re.compile(r"\b(\d{1,3}) ?gi?b?\b(?: (?:of )?(?:v?ram|memory|unified))?", re.IGNORECASE)


def normalised(name: str) -> str:
    """A name without case, punctuation and makers' words: "NVIDIA A100-SXM4-80GB" -> "a100sxm480gb".

    A MIG slice carries its card's name: "NVIDIA H100 80GB HBM3 MIG 1g.10gb" -> "h10080gbhbm3".
    """
    card = re.sub(r"\bmig\b.*", "", name.lower())
    words = re.findall(r"[a-z0-9]+", card)
    return "".join(word for word in words if word not in _MAKERS)


@cache
def catalogue() -> tuple[GpuSpec, ...]:
    """Every bundled accelerator, in the table's order.

    assets/gpus.csv: peaks are dense TFLOPS at FP32 accumulation ("62..119" where sources disagree),
    memory as sold [GiB], as nvidia-smi totals it and as CUDA shows it [MiB] where they were read,
    links in one direction [GB/s]; FP32 is lanes x 2 x boost clock. `source` is the origin of a row.
    """
    aliases = defaultdict(list)
    for row in name_rows():
        if row.kind != "unclear":
            aliases[row.gpu].append(row.alias)
    return tuple(_spec(row, tuple(aliases[row.name])) for row in gpu_rows())


@cache
def same_name() -> Mapping[str, tuple[GpuSpec, ...]]:
    """Normalised name or alias -> the rows that bear it, the default first.

    Several cards report one name (RTX 4060 Ti with 8 or 16 GB): assets/gpu_names.csv lists the
    default first, and detection tells them apart by their memory.
    """
    specs = {spec.name: spec for spec in catalogue()}
    found: dict[str, dict[str, GpuSpec]] = defaultdict(dict)
    for name, spec in specs.items():
        found[normalised(name)][name] = spec
    for row in name_rows():
        if row.kind != "unclear":
            found[normalised(row.alias)][row.gpu] = specs[row.gpu]
    return {key: tuple(bearers.values()) for key, bearers in found.items()}


def reported_as(name: str) -> tuple[str, ...]:
    """The names that drivers have for a catalogued accelerator."""
    return tuple(row.alias for row in name_rows() if row.kind == "driver" and row.gpu == name)


def plain(name: str) -> GpuSpec:
    """The accelerator of that name or alias, whatever its case and punctuation; never a near match.

    Raises HardwareError with the choices, or the closest names.
    """
    specs = same_name().get(normalised(name)) or same_name().get(normalised(_bare(name)))
    return specs[0] if specs else _one_of(name)


def known(name: str) -> bool:
    """Whether some card bears that very name, case and punctuation aside."""
    return normalised(name) in same_name()


@cache
def _several(kind: str) -> Mapping[str, tuple[str, ...]]:
    """Normalised names that do not say which of several cards -> those."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in name_rows():
        if row.kind == kind:
            found[normalised(row.alias)].append(row.gpu)
    return {key: tuple(cards) for key, cards in found.items()}


def unclear(name: str) -> tuple[str, ...]:
    """The editions a name may mean of which the first is taken; none where it means one card."""
    return _several("assumed").get(normalised(_bare(name)), ())


def _bare(name: str) -> str:
    """A name without what is not part of it: "H100 SXM GPU" -> "H100 SXM"."""
    return _ADDED.sub(" ", name[:80].replace("_", " "))


def of_memory(name: str) -> GpuSpec | None:
    """The card whose name goes on with its memory: "RTX 4090 24GB", "M4 Pro 24GB", "A100-80G"; None without one.

    Raises HardwareError when the card has another.
    """
    bare = _bare(name)
    if normalised(name) in same_name() or normalised(bare) in same_name():
        return None
    said = _MEMORY.search(bare)
    if said is None:
        return None
    base = (bare[: said.start()] + bare[said.end() :]).strip(" -()")
    bearers = same_name().get(normalised(base))
    if not bearers:
        return None
    gib = int(said[1])
    if right := [spec for spec in bearers if spec.nominal_memory_gib == gib]:
        return right[0]
    rows = {row.name: row for row in gpu_rows()}
    if sold := [spec for spec in bearers if gib in rows[spec.name].memory_options]:
        return _with_memory(sold[0], rows[sold[0].name], gib)
    near = _listed([spec.name for spec in search(base)][:3] or [spec.name for spec in bearers], "or")
    raise HardwareError(f"No {base} of {said[1]} GB is known: pick {near}, or type its figures in.")


def _with_memory(spec: GpuSpec, row: GpuRow, gib: int) -> GpuSpec:
    """The same chip with another of the memory sizes it is sold with."""
    mib, basis = engine_memory_mib(row.vendor, row.memory, gib, None, None)
    return replace(spec, name=f"{spec.name} {gib}GB", row=spec.name, memory_bytes=int(mib * MIB), memory_basis=basis,
                   nominal_memory_gib=float(gib))


def of_cores(name: str, cores: int) -> GpuSpec:
    """The chip of a name with so many GPU cores: "M1 Pro", 14. Raises HardwareError where it is sold with others."""
    said = _MEMORY.search(name)
    base = (name[: said.start()] + name[said.end() :]).strip() if said else name
    bearers = same_name().get(normalised(base), ())
    sold = {spec.name: counts for spec in bearers if (counts := cores_sold().get(spec.name))}
    row = next((row for row, counts in sold.items() if cores in counts), None)
    if row is None:
        known_cores = sorted({count for counts in sold.values() for count in counts})
        if not known_cores:
            return plain(name)
        raise HardwareError(f"No {base} of {cores} GPU cores is known: it has {_listed(known_cores, 'or')}.")
    memory = f" {said[1]}GB" if said else ""
    spec = of_memory(re.sub(r"[()]", "", row) + memory) or plain(row)
    return spec if cores == sold[row][-1] else _with_cores(spec, row, cores, cores / sold[row][-1])


def _with_cores(spec: GpuSpec, row: str, cores: int, share: float) -> GpuSpec:
    """The same chip with a part of its GPU cores: its peaks shrink with them, its bandwidth stays."""
    return replace(
        spec, name=f"{row} ({cores}-core){spec.name.removeprefix(row)}", row=row,
        flops={dtype: peak * share for dtype, peak in spec.flops.items()},
        flops_range={dtype: (low * share, high * share) for dtype, (low, high) in spec.flops_range.items()},
    )


def _one_of(name: str) -> GpuSpec:
    """The card that all names in "DGX Spark / GB10" mean. Raises HardwareError with the choices, or the closest."""
    parts = [part.strip() for part in re.split(r"[/,|]|\bor\b", name[:80]) if part.strip()]
    known = [specs[0].name for part in parts if (specs := same_name().get(normalised(part)))]
    choices = list(dict.fromkeys(known))
    if len(choices) == 1 and len(known) == len(parts):
        return plain(choices[0])
    if len(choices) > 1:
        raise HardwareError(f"'{name[:80]}' names {_listed(choices, 'and')}: pick one.")
    if cards := _several("unclear").get(normalised(_bare(name))):
        raise HardwareError(f"'{name.strip()[:80]}' may be {_listed(cards, 'or')}: say which.")
    names = closest(name)
    advice = f"Did you mean {_listed(names, 'or')}?" if names else "See the catalogue for the names."
    raise HardwareError(f"No figures for a GPU named '{name[:80]}'. {advice} Or type its figures in.")


def closest(name: str) -> tuple[str, ...]:
    """The cards a name leaves open, else at most three whose names are most like it; none where none is alike."""
    asked = name.strip()[:80]
    if not asked:
        return ()
    if cards := _several("unclear").get(normalised(_bare(asked))):
        return cards
    bare = _bare(asked)
    near = [spec.name for spec in search(_MEMORY.sub(" ", bare).strip() or bare)]
    alike = difflib.get_close_matches(normalised(asked), same_name(), n=6, cutoff=0.5)
    return tuple(dict.fromkeys(near[:3] + [same_name()[key][0].name for key in alike]))[:3]


def _listed(names: Sequence[object], last: str) -> str:
    """ "A, B or C"."""
    *others, final = map(str, names)
    return f"{', '.join(others)} {last} {final}" if others else final


def search(query: str) -> tuple[GpuSpec, ...]:
    """Accelerators whose name or alias holds every word of the query, best first; all for an empty query.

    Exact names come first, then names that begin with the query, then the rest, in the table's order.
    """
    wanted = normalised(query)
    words = query.lower().split()

    def rank(spec: GpuSpec) -> int | None:
        names = (spec.name, *spec.aliases)
        keys = [normalised(name) for name in names]
        if wanted and wanted in keys:
            return 0
        if wanted and any(key.startswith(wanted) for key in keys):
            return 1
        text = " ".join((*names, spec.vendor, spec.architecture)).lower()
        return 2 if all(word in text for word in words) else None

    ranks = {spec.name: rank(spec) for spec in catalogue()}
    hits = [spec for spec in catalogue() if ranks[spec.name] is not None]
    return tuple(sorted(hits, key=lambda spec: ranks[spec.name] or 0))


def _spec(row: GpuRow, aliases: tuple[str, ...]) -> GpuSpec:
    ranges: dict[str, Span] = {dtype: peak for dtype in DTYPES if (peak := getattr(row, dtype))}
    memory_mib, memory_basis = engine_memory_mib(
        row.vendor, row.memory, row.memory_gib, row.driver_mib, row.engine_mib
    )
    pcie = row.pcie and row.pcie.bytes_per_s
    price, price_source = reference_price(row.name)
    return GpuSpec(
        name=row.name,
        vendor=row.vendor,
        architecture=row.architecture,
        compute_capability=row.capability,
        memory_bytes=int(memory_mib * MIB),
        bandwidth_bytes_per_s=row.bandwidth_gb_s * GB,
        flops={dtype: (low + high) / 2 for dtype, (low, high) in ranges.items()},
        fp16_accumulate_flops=None if row.fp16_acc16 is None else row.fp16_acc16 * TERA,
        l2_bytes=None if row.l2_mb is None else int(row.l2_mb * MIB),
        sm_count=row.sms,
        link_bytes_per_s=row.link_one_way_gb_s * GB if row.link_one_way_gb_s else pcie or 0.0,
        link=row.link or f"PCIe {row.pcie.name if row.pcie else ''}",
        tdp_w=row.tdp_w,
        release_year=row.year,
        price_usd_per_hour=price,
        price_source=price_source,
        basis=_BASIS[row.peak_basis],
        source=row.source,
        notes=row.note,
        aliases=aliases,
        memory_basis=memory_basis,
        nominal_memory_gib=row.memory_gib,
        free_share=FREE_SHARE.get(row.memory, 1.0),
        flops_range={dtype: (span.low, span.high) for dtype, span in ranges.items() if span.low < span.high},
        link_gpus=row.link_gpus or _LINKED_GPUS,
        pcie_bytes_per_s=pcie,
        boost_mhz=row.boost_mhz,
        announced=row.peak_basis == "announced",
    )
