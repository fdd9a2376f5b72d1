"""Bringing in what other programs wrote down: ccusage's JSON and the databases of earlier trackers.

What is imported is kept apart, marked with where it came from, and counts only where nothing better is known:

- a session that a tool's own files describe is counted from those files;
- a session or block that something observed overlaps in time is left out;
- a day counts only if no session of that tool is known to have been used on it.

The rule holds at every moment, not just at the import: what is read later wins, too.
"""
