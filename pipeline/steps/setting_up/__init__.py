"""What an admin does before it runs: connect, map, create fields, switch orgs."""
