"""How work is run and kept: processes, jobs, clusters, the store."""
