"""Clients of what lives outside the process: the org, the ledger, the lake, models and files. They know no rules."""
