"""The ledger: what must be transactional, and nothing else (docs/architecture.md)."""
