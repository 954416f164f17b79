"""One module a verb: plain functions over clients, configuration and the time; no Dagster."""
