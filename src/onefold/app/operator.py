"""Who asks: the name under which a change, a command or a bundle of evidence is recorded.

It is the system's account that the process runs under, which no variable of the environment can
change; how well it tells people apart is up to the system.
"""

from __future__ import annotations

import os
import pwd

from onefold.app.output import one_line


def operator() -> str:
    """Return the name of the person who runs this process, a number where it has none."""
    uid = os.getuid()
    try:
        return one_line(pwd.getpwuid(uid).pw_name)
    except KeyError:  # as in containers
        return f"uid {uid}"
