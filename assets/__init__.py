"""The Dagster assets: each is its inputs, one step and a result with figures. No rule lives here."""
