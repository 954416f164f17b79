"""What is read, whether a record is due, and what scoring makes of it."""
