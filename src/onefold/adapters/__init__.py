"""The outside world, one folder per venue or source, all of one shape.

`config` has what a user may say, `http` and `stream` hold the client, `parse` turns what the source
sends into records and reports (pure, tested on recorded payloads), `feed` yields bars and `venue`
takes orders. Adapters never import each other; what they share stands beside them.
"""
