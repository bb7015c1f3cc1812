"""What a deployment takes and how fast it is: memory, speed, and the fitted constants."""
