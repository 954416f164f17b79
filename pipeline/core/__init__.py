"""Rules without I/O: time, rows and text come in as arguments; nothing here knows Dagster, HTTP or SQL."""
