"""What people read: trades, equity, metrics, gate funnel and report, folded from the records."""
