"""The room of the subjects: each a program that does the same works its own way."""
