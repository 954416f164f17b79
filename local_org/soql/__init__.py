"""SOQL: text to a tree (``parser``), tree to SQLite SQL (``compiler``)."""
