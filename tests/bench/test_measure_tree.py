"""What a whole tree of processes used is counted, however its parents end."""

import sys

import pytest

from bench.support.tree import CommandFailed, measure

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_an_orphan_counts_though_its_parent_did_not_wait():
    leave = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BURN!r}])\n"
    found = measure([sys.executable, "-c", leave])
    assert found.cpu >= 0.3, "the kernel adds what a parent waited for; an orphan has to be adopted to be counted"


def test_a_child_counts_though_its_parent_ignores_its_end():
    ignore = f"""
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork():
    time.sleep(1.5)  # until the child has gone, so that nobody inherits it
else:
    exec({BURN!r})
    time.sleep(0.3)
    os._exit(0)
"""
    found = measure([sys.executable, "-c", ignore])
    assert found.cpu >= 0.3, "the kernel forgets the times of a child that nobody waits for: PySpark's are such"


def test_the_command_itself_and_what_it_waits_for_count_together():
    both = f"{BURN}import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}], check=True)\n"
    assert measure([sys.executable, "-c", both]).cpu >= 0.6


def test_memory_is_told_apart_by_process():
    below = "x = bytearray(150 << 20); import time; time.sleep(0.5)"
    above = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {below!r}], check=True)\n"
    found = measure([sys.executable, "-c", above])
    assert found.others > 150 << 20 > found.driver, "a growing worker must not hide behind the driver, nor the reverse"


def test_a_command_that_fails_gives_no_figures():
    with pytest.raises(CommandFailed, match="wrong on purpose"):
        measure([sys.executable, "-c", "raise SystemExit('wrong on purpose')"])
