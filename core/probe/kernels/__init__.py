"""Weight-only matmuls of our own in Triton, and the layouts that AWQ and GPTQ checkpoints store."""
