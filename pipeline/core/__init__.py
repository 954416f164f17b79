"""Rules without I/O: time, rows and text come in as arguments. No Dagster, HTTP or SQL here."""
