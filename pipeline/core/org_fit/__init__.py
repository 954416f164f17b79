"""Whether the configuration fits the org: its fields, what preflight reports, what could be created."""
