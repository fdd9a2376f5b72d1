"""OTLP/HTTP in: Claude Code's own telemetry as a source, for machines without an agent.

Of the logs only the `api_request` events are read, of the metrics only tokens, cost and the count of sessions, and of those only the
attributes that are named in signals.py. Prompts, tool calls, mail addresses and everything else are dropped unread.
"""

PATHS = {"/v1/logs": "logs", "/v1/metrics": "metrics"}
LARGEST = 1 << 20
