"""A stand-in for a Salesforce org, over real HTTP; a program of its own: see README.md in this folder."""
