"""How a day is shared, how long a row waits, and the days and windows that all of it counts in."""
