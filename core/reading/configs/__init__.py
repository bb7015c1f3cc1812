"""config.json -> ModelSpec: a reader for every family, defaults and traps included."""

from core.reading.configs.read import read_config

__all__ = ["read_config"]
