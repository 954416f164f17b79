"""Clients of what is outside the process: org, ledger, lake, models, files. They know no rules."""
