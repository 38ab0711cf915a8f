"""A rehearsal: an exchange that others can talk to, and that can be told to misbehave.

Money is never at stake here, but the programs are the real ones: real client libraries over real
sockets against the same simulated venue that a backtest fills orders with.
"""
