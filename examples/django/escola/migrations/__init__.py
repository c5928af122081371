"""The migrations of the school."""
