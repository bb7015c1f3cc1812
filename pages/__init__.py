"""The app: what is asked and drawn."""
