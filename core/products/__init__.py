"""What is on the market: GPUs, engines, formats, and which of them work together."""
