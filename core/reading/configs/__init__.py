"""config.json -> ModelSpec: a reader for every family, defaults and traps included."""

from core.reading.configs.read import architecture, read_config

__all__ = ["architecture", "read_config"]
