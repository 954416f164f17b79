"""Fuzzing of everything that parses what comes from outside; `python -m tests.fuzz --help`.

Nothing is imported here: atheris has to be there before what it is to watch is imported.
"""
