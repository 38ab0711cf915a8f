"""A command that ends with the process that started it, however that one ended.

`python -m onefold.app.leashed ARGUMENTS` is `onefold ARGUMENTS` on a leash: its standard input is a
pipe from the parent, which the system closes when the parent is gone, also when it was killed. So a
server that dies leaves no projector behind.
"""

from __future__ import annotations

import os
import signal
import threading

from onefold.app.main import main


def _hold() -> None:
    while os.read(0, 4_096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_hold, daemon=True).start()
    main()
