"""A stand-in for a Salesforce org, over real HTTP. A program of its own: see its README.md."""
