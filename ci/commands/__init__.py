"""One module for each command: HELP, `arguments(parser)` and `main(arguments, context)`.

A module's own imports are light, since the parser loads them all; what a command needs to work is
imported in its `main`. `DELIVERS = True`: it needs ci's development environment, and gets it.
"""
