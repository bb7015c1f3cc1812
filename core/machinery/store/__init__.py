"""What people keep: plans, measurements, GPUs and models of their own."""

from core.machinery.store.engine import database_url, open_engine
from core.machinery.store.items import Kind, Saved, Store

__all__ = ["Kind", "Saved", "Store", "database_url", "open_engine"]
