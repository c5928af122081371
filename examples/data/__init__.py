"""The data that the examples read."""
