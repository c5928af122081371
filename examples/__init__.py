"""Start here: scripts that run without AWS, end by themselves and print what they did."""
