"""What to do: sweeps, advice, comparisons, bottlenecks, traffic, cost."""
