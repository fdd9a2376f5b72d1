"""Is this relay a correct one? A suite that anyone can run against theirs.

    python -m tests.compliance --relay URL --key KEY     a receiver, over the network

It writes under the key's own source: use a push key made for this.
"""
