"""The room of the data that the examples read."""
