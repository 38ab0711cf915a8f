"""Measure Onefold and its peers on the same work, in one run, and print the ratios.

Start it with ``make bench`` or ``python benchmarks/run.py``; ``docs/benchmarks.md`` says what is
measured and how to read the table. Nothing here is part of the installed package.
"""
