"""Groups of the command `insights`, one file a subject; `pipeline/cli.py` puts them together."""
