"""The words of Onefold: instruments, bars, signals, orders, decisions, rules and errors.

Nothing here decides or touches the world. Every other package may import this one; it imports none.
"""
