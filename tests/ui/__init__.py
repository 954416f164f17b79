"""Dagster's UI as an operator meets it: real webserver and daemon on the local org, asked over GraphQL and by a browser."""
