"""Four repositories of four teams, and a script that runs them against one local server."""
