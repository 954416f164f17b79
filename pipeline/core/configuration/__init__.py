"""What people write: settings, markets and integrations, and what is wrong with them as written."""
