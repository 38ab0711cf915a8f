"""The outside world, one folder per venue or source, all of one shape.

`config` has what a user may say, `parse` turns what the source sends into records (pure, tested on
recorded payloads), `feed` yields them. Adapters never import each other; `pace` is for all of them.
"""
