"""The fire drill: each failure mode made to happen on the real path, and what fired for it."""
