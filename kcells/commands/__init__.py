"""The command `kcells`, a module a subcommand.

No module here imports Keras when it is imported itself, but for those that say so: the
command completes, helps and lists before Keras would have started.
"""
