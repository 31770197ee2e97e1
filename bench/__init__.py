"""Measurements: events per CPU-second, cost a call, detection on recorded attacks. `python -m bench` runs the short ones."""
