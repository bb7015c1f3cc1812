"""Measure this GPU: honest clocks, real kernels, and what follows for the estimates.

torch is imported only by `core.probe.worker` and what it calls, in a process of their own.
"""
