"""The commands of ``inferwatch``, one a module; each has a click command named ``command``."""
