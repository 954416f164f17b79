"""What people ask: each answers a question and changes nothing but its own notes."""
