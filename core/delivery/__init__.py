"""What is taken away: charts, files, launch commands, estimates as tables."""
