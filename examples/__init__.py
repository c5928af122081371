"""The room to read first: scripts that run without AWS, end by themselves and show their output."""
