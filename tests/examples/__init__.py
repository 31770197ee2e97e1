"""The examples of the documentation, run as their reader runs them."""
