"""Consuming: the class that a service subclasses, and the way of a delivery to its handler."""
