"""A seeded simulation of the whole pipeline: random edits, faults, crashes and several processes (R15, R20 to R25)."""
