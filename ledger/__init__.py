"""What the agent and the relay share. Each of them is a home of the ledger: it keeps the same records, and answers the same questions about them.

Everything here is given the time and its connections; it opens none and asks no clock by itself.
"""
__version__ = "1.0.0"
