"""Whether configuration and org fit: fields, what preflight reports, what could be created."""
