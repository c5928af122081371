"""The command line: it combines the other packages, and none of them imports it.

`app` assembles the commands, one file for each group; they share `names`, `project` and `screen`. A
command imports its dependencies when it runs, so that `messaging --help` stays fast.
"""
