"""The commands, one module each, named as Django wants it."""
