"""Recordings of prediction services: real models on real tables, their ordinary clients, and attacks that were run against them.

`python -m bench.services OUT --seed N` writes one folder a service, which `python -m bench.detection OUT` replays and scores.
"""
