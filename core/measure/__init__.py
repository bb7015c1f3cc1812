"""The engine itself, measured: its start-up log and a few loads, from which the plan follows."""
