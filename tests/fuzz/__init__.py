"""Inputs by the thousand: a minute with the fast tests, ten with the slow ones.

Each target draws inputs from a seed, so that all runs of a seed try the same ones, in the same
order, as far as they get. `FUZZ_SEED=7` tries others, and `FUZZ_ONLY=1234` the one of this number
alone. What is at fault is told once for each kind, with an input that was made smaller.
"""
