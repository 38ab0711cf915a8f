"""The database: trades, orders, decisions, equity and bars as projections of the journals.

Nothing is in it that is not in a journal, so it can be thrown away and made again. The projector
reads journals and writes here; the engine neither reads nor writes it.
"""
