"""The subjects: programs that do the same works, each in its own way."""
