"""Rules (`core`), flows (`steps`) and what Dagster runs. Importing it wires nothing."""
