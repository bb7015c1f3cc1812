"""What every room stands on: errors, units, settings, sources, fields, places, tables."""
