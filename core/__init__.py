"""Sweetspot's knowledge, free of any user interface: models, GPUs, memory, speed and advice."""
