"""Tests of the sample markets and of the demo's seed data."""
