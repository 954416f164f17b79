"""The pipeline: rules (`core`), flows (`steps`) and what Dagster runs. Importing it wires nothing."""
