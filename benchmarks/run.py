"""Start the benchmarks from a checkout, whatever folder the command is given in.

``make bench`` calls this file. Python puts the folder of a script first on its path, and the
package lies one folder up.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    runpy.run_module("benchmarks", run_name="__main__")
