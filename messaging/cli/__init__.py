"""The command line: it composes the others, and nothing imports it.

`app` puts the commands together, one file for each group; `names`, `project` and `screen` are
what they share. A command imports what it needs when it runs, so that `messaging --help` stays
quick.
"""
