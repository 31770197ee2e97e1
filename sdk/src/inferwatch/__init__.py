"""inferwatch."""
