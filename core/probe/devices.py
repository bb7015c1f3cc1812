"""What can be measured here, and whether the administrator lets it be."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from core.basics.errors import ProbeError
from core.basics.settings import is_public, switch
from core.probe.order import OPTIONAL
from core.products import gpus

CPU: Final = "cpu"
MIN_S: Final = 5.0
MAX_S: Final = 300.0
DEFAULT_S: Final = 55.0         # from the start of the measuring process, torch's import included


@dataclass(frozen=True, slots=True)
class Device:
    """Something to measure."""

    name: str           # "cuda:0", "cpu"
    label: str


def devices() -> tuple[Device, ...]:
    """The GPUs of this machine, then its processor."""
    local = tuple(Device(f"cuda:{gpu.index}", f"{gpu.reported_name} (cuda:{gpu.index})") for gpu in gpus.detect())
    return (*local, Device(CPU, "This machine's processor, as a trial"))


def missing_libraries() -> tuple[str, ...]:
    """Optional kernel libraries that are not installed here."""
    return tuple(name for name in OPTIONAL if not _installed(name))


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def ranks(name: str) -> int:
    """GPUs that can sum their results with the device of that name; 1 on a processor."""
    return 1 if name == CPU else max(1, len(gpus.detect()))


def is_allowed() -> bool:
    """SWEETSPOT_PROBE decides; unset: where a GPU is present and no stranger can reach the app."""
    said = switch("probe")
    return not is_public() and bool(gpus.detect()) if said is None else said


def checked(name: str) -> str:
    """The device of that name. Raises ProbeError naming those there are."""
    known = [device.name for device in devices()]
    if name not in known:
        raise ProbeError(f"There is no device '{name[:40]}' here to measure: use one of {', '.join(known)}.")
    return name
