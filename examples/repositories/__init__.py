"""Four repositories of four teams, and a script that plays them against one local server."""
