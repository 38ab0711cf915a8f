"""What people who run the system need to know of it: logs, failures, health, metrics, backups.

All of it looks on: it hears what is recorded and reads what is written, and nothing of it can delay
or stop trading.
"""
