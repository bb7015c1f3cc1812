"""Which reader a config.json belongs to."""

from collections.abc import Mapping

from core.configs import decoder
from core.configs.families import FAMILIES
from core.configs.keys import Keys
from core.errors import ArchitectureUnknown
from core.models import ModelSpec


def read_config(
    config: Mapping[str, object], *, name: str, quant_config: Mapping[str, object] | None = None
) -> ModelSpec:
    """The spec that a config.json describes.

    Raises: ConfigInvalid naming the key that is missing or absurd; ArchitectureUnknown naming the family.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ArchitectureUnknown(f"The model type '{family}' of {name} is not understood.")
    return decoder.read(name, Keys(config, family), FAMILIES[family])
