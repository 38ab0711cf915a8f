"""The decision function: gates, sizing, exits, orders and books, compiled and pure.

`step.steps_nb` is the way in; `build` makes its memory from rules, `codec` feeds it records.
"""
