"""Consuming: the class that a service subclasses, and the path of a delivery to its handler."""
