"""What people write for GPUs: a card, how many, how much memory, a slice of one, or a machine that holds them."""

import re
from dataclasses import dataclass, replace
from typing import Final

from core.basics.errors import HardwareError
from core.products.gpus.catalogue import known, of_cores, of_memory, plain, search, unclear
from core.products.gpus.condition import (
    MIG_CAPABILITIES,
    MIG_COMPUTE_SLICES,
    MIG_MEMORY_LEFT,
    MIG_MEMORY_SLICES,
    slice_of,
)
from core.products.gpus.machines import machine
from core.products.gpus.spec import GpuSpec

_TIMES: Final = r"[x×*]"
_BEFORE: Final = re.compile(rf"^\s*\(?(\d{{1,3}})\s*(?:{_TIMES}\s*\)?\s*(?=[a-z\d])|\)?\s+(?=[a-z]))", re.IGNORECASE)
_AFTER: Final = re.compile(
    rf"\s*(?:\(\s*)?(?:{_TIMES}\s*(\d{{1,3}})|\b(\d{{1,3}})\s*{_TIMES}|:\s*(\d{{1,3}}))\s*\)?\s*$", re.IGNORECASE
)
_WORDS: Final = {"single": 1, "one": 1, "dual": 2, "twin": 2, "two": 2, "pair of": 2, "triple": 3, "three": 3,
                 "quad": 4, "four": 4, "eight": 8}
_WORD: Final = re.compile(rf"^\s*({'|'.join(_WORDS)})\s+(?=\S)", re.IGNORECASE)
_PLURAL: Final = re.compile(r"(?<=\d)s$|(?<=\d[a-z])s$", re.IGNORECASE)                     # 8 H100s
_MIG: Final = re.compile(r"(?:nvidia\.com/)?\b(?:mig[- ]?)?(\d)g\.(\d{1,3})gb(?:\+[\w.]+)?(?:\s+mig)?\b", re.IGNORECASE)
_MAC: Final = re.compile(r"\b(?:apple|mac ?book(?: pro| air)?|mac ?studio|mac ?mini|mac ?pro|i ?mac)\b", re.IGNORECASE)
_CHIP: Final = re.compile(r"\bm\d(?: (?:pro|max|ultra))?\b", re.IGNORECASE)
_CPU_CORES: Final = re.compile(r"\b\d{1,2}[- ]?cores? cpu\b|\b\d{1,2}p ?\+ ?\d{1,2}e\b", re.IGNORECASE)
_GPU_CORES: Final = re.compile(r"\+? ?\b(\d{1,2})(?: ?gpu\b|(?:[- ]?cores?|c)\b(?: gpu\b)?)", re.IGNORECASE)
_LAPTOP: Final = re.compile(r"\b(?:laptop(?: gpu)?|mobile|notebook|max-?q)\b", re.IGNORECASE)
_GEFORCE: Final = re.compile(
    r"^\s*(?:nvidia\s+)?(?:geforce\s+)?(?:rtx\s*)?([2-5]0[5-9]0)\s*(ti)?\s*(m)?(?:\s+|$)", re.IGNORECASE
)

_PROFILE_ROUNDING: Final = 0.13     # 1g.12gb is of 94 GB, 1g.23gb of 180 GB: profiles round


@dataclass(frozen=True, slots=True)
class Meant:
    """What a name means."""

    spec: GpuSpec
    name: str       # the row of the catalogue, or the slice
    count: int      # GPUs the name speaks of
    note: str       # what was assumed; empty where nothing was
    names_count: bool = False   # whether the name says how many: "1x H100" and machines do, "H100" does not


def meant(text: str) -> Meant:
    """The GPU a text means and how many of them. Raises HardwareError with the choices, or the closest names."""
    asked = text.strip()[:100]
    if found := _machine(asked):
        return found
    name, count = _counted(asked)
    if found := _machine(name):
        return replace(found, count=found.count * count)
    says = name != asked
    if sliced := _MIG.search(name):
        return replace(_slice(name, sliced), count=count, names_count=says)
    spec = _card(name)
    said = f"Read as {spec.name}." if spec.name != _row(spec) else ""
    return Meant(spec, _row(spec), count, " ".join(part for part in (_assumed(name, spec), said) if part), says)


def find(text: str) -> GpuSpec:
    """The accelerator a text means, whatever its case and punctuation; never a near match.

    A name that several cards share means the first of them in assets/gpu_names.csv: "H100" is the
    SXM5 80 GB card. Raises HardwareError with the choices, or the closest names.
    """
    return meant(text).spec


def _machine(name: str) -> Meant | None:
    row = machine(name)
    return None if row is None else Meant(plain(row.gpu), row.gpu, row.count, row.said(), names_count=True)


def _counted(text: str) -> tuple[str, int]:
    """ "2x3090", "dual 3090", "H100 x8", "8 H100s", "H100:8" -> the card and how many; 1 where nothing is said."""
    name, count = text, 1
    if found := _WORD.match(name):
        name, count = name[found.end() :], _WORDS[found[1].lower()]
    elif found := _BEFORE.match(name):
        name, count = name[found.end() :], int(found[1])
    elif found := _AFTER.search(name):
        name, count = name[: found.start()], int(next(part for part in found.groups() if part))
    name = name.strip()
    if count > 1 and _PLURAL.search(name) and not known(name):
        name = _PLURAL.sub("", name)
    return (name, count) if count else (text, 1)


def _card(name: str) -> GpuSpec:
    """The card of a name without a count, with the memory it names."""
    written = name.replace("_", " ")
    if geforce := _GEFORCE.match(written):
        rest = written[geforce.end() :]
        if geforce[3] or _LAPTOP.search(rest):
            written = f"GeForce RTX {geforce[1]}{' Ti' if geforce[2] else ''} Laptop {_LAPTOP.sub('', rest)}".strip()
    if _CHIP.search(_MAC.sub("", written)):
        chip = re.sub(r"[(),]|\d\d?(?:\.\d)?[- ]?(?:inch|\")|\b20\d\d\b", " ", _MAC.sub(" ", written))
        return _chip(re.sub(r"\s+", " ", chip).strip())
    return of_memory(written) or plain(written)


def _chip(written: str) -> GpuSpec:
    """Apple's chip with the GPU cores and memory it names: "M1 Pro 6P+2E+14GPU", "M4 Max 32-core 36GB"."""
    text = _CPU_CORES.sub("", written)
    cores = _GPU_CORES.search(text)
    if cores is None:
        return of_memory(text) or plain(text)
    return of_cores(re.sub(r"\s+", " ", text[: cores.start()] + text[cores.end() :]).strip(" +"), int(cores[1]))


def _row(spec: GpuSpec) -> str:
    """The name of the catalogue's row of a card, which may have another of its memory sizes."""
    return spec.row or spec.name


def _assumed(name: str, spec: GpuSpec) -> str:
    """A sentence where a name fits several editions of a card and one was taken."""
    editions = unclear(name)
    others = [other for other in editions if other != spec.name]
    return f"{name.strip()} is one of {len(editions)} editions: {spec.name} is taken." if others else ""


def _slice(text: str, found: re.Match[str]) -> Meant:
    """A MIG slice of the card it names: the one whose memory has so many slices of that size."""
    compute, memory_gb = int(found[1]), int(found[2])
    base = (text[: found.start()] + text[found.end() :]).strip(" -:/,()")
    if not base:
        raise HardwareError(f"'{text[:80]}' is a MIG slice: name the card it is of, as H100 1g.10gb.")
    spec = next((card for card in _sizes(base) if _profile_fits(card, compute, memory_gb)), None)
    if spec is None:
        raise HardwareError(f"No {base} has a MIG slice {found[1]}g.{found[2]}gb: pick one of its profiles.")
    part = slice_of(spec, f"{compute}g.{memory_gb}gb", _slices_of(spec, memory_gb))
    return Meant(part, part.name, 1, part.notes)


def _sizes(base: str) -> list[GpuSpec]:
    """The card a name means, and before it its sizes where the name leaves that open (A100 with 40 or 80 GB)."""
    first = _card(base)
    family = first.name.split()[0]
    others = [spec for spec in search(family) if spec.name.split()[0] == family and spec is not first]
    return [first, *sorted(others, key=lambda spec: spec.name.split()[1:2] != first.name.split()[1:2])]


def _slices_of(spec: GpuSpec, memory_gb: int) -> int:
    """Memory slices of eight that hold so many GB of a card."""
    return min(MIG_MEMORY_SLICES, max(1, round(MIG_MEMORY_SLICES * memory_gb / (spec.nominal_memory_gib or memory_gb))))


def _profile_fits(spec: GpuSpec, compute: int, memory_gb: int) -> bool:
    """Whether a profile is one of the card's: its memory is whole eighths, and no fewer than its compute slices."""
    slices = _slices_of(spec, memory_gb)
    whole = (spec.nominal_memory_gib or 0.0) * slices / MIG_MEMORY_SLICES
    fits = slices in MIG_MEMORY_LEFT and abs(whole - memory_gb) <= _PROFILE_ROUNDING * memory_gb
    enough = min(compute, MIG_MEMORY_SLICES // 2) <= slices and 1 <= compute <= MIG_COMPUTE_SLICES
    return fits and enough and spec.compute_capability in MIG_CAPABILITIES
