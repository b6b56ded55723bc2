"""Kills a process hard where a test says: at the moment when it moves a file into its place.

An interpreter that has this folder in PYTHONPATH begins with it: workers and jobs of a cluster do,
too. Orders are files in the folder that SPEECHFT_TEST_KILLS names: each holds a pattern of paths,
kills one process, and is gone then.
"""

from __future__ import annotations

import os
import re
import signal
import sys


def look(event: str, arguments: tuple[str, ...]) -> None:
    """Obey the orders; in an audit hook, since that sees all files of all libraries."""
    orders = os.environ.get("SPEECHFT_TEST_KILLS", "") if event == "os.rename" else ""
    for name in os.listdir(orders) if os.path.isdir(orders) else []:
        order = os.path.join(orders, name)
        try:
            with open(order) as file:
                wanted = re.search(file.read(), os.fspath(arguments[1]))
            if wanted:
                os.unlink(order)  # of several processes only one gets past this
                os.kill(os.getpid(), signal.SIGKILL)
        except FileNotFoundError:
            continue


sys.addaudithook(look)
