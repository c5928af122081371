"""The commands, one module each, named as Django requires."""
