"""The dashboard: pages over the office, beside the API in the same process.

It shows what the API tells and does what the API does, through the same office, keys and roles; it
needs nothing from outside this machine.
"""

from onefold.api.dashboard.mounting import mount

__all__ = ["mount"]
