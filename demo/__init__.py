"""The demo: real companies in a local org, and the main job on them. Not part of the product."""
