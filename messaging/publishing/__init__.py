"""Publishing: an event becomes copies, and copies become requests."""
