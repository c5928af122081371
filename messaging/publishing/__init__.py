"""Publishing: turns events into copies, and copies into requests."""
