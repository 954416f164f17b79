"""The Dagster assets: each is its inputs, one step and a result. No rule lives here."""
