"""Is this relay a correct one, is this agent? Two suites that anyone can run against theirs.

    python -m tests.compliance --relay URL --key KEY     a receiver, over the network
    python -m tests.compliance --agent COMMAND           a sender: a command that makes an agent sync once

The first writes under the key's own source: use a push key made for this. The second plays a relay on loopback and runs the
command in many scenes, with {url}, {key} and {home} in it replaced; the home is empty at the start of each scene.
"""
