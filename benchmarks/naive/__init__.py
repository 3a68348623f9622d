"""What the published SimVQ code does, written by us from its description, with the weights of our modules.

Slow on purpose and equal in outcome: tests/test_benchmarks.py compares both. These are the twins that the speeds in
docs/speed.md stand beside.
"""
