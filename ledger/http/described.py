"""The table of the read API: each path with its purpose, the schema of its parameters and the schema of its answer.

The OpenAPI document is made from it, tests go through it, and queries.py finds here the schema of what its types refuse.
"""
from __future__ import annotations

from functools import cache

from marshmallow import Schema

from ledger.http import schemas
from ledger.http.openapi import Route

ALL = [
    Route("/status", "Is it running, and since when was nothing heard", schemas.Asked, schemas.StatusAnswer),
    Route("/sessions/active", "Sessions that are active now", schemas.Asked, schemas.SessionAnswer, many=True),
    Route("/sessions/recent", "The sessions that began last", schemas.AskedRecent, schemas.SessionAnswer, many=True),
    Route("/sessions", "Find sessions, page by page", schemas.AskedSessions, schemas.SessionPage),
    Route("/sessions/{id}", "One session with its usage", schemas.Asked, schemas.SessionDetail),
    Route("/sessions/{id}/cost", "What a session cost, line by line", schemas.Asked, schemas.CostAnswer),
    Route("/analytics/current", "Today, this week and the open block", schemas.Asked, schemas.AnalyticsAnswer),
    Route("/five-hour-blocks", "Five-hour blocks, the newest first", schemas.AskedBlocks, schemas.BlockAnswer, many=True),
    Route("/limits", "Official limits that hold now", schemas.Asked, schemas.LimitAnswer, many=True),
    Route("/machines", "Machines, and whether they are heard", schemas.Asked, schemas.MachineAnswer, many=True),
    Route("/team", "Who used how much this week, without titles", schemas.Asked, schemas.TeamAnswer),
    Route("/dashboard-config", "Settings for a page", schemas.Asked, schemas.ConfigAnswer),
    Route("/v1/feed", "What changed after a cursor", schemas.AskedFeed, schemas.FeedAnswer),
    Route("/v1/ping", "Which home this is; needs no key", schemas.Asked, schemas.PingAnswer, is_open=True),
    Route("/export", "Everything as CSV, JSON lines or JSON", schemas.AskedExport, None),
    Route("/openapi.json", "This description", schemas.Asked, None, is_open=True),
    Route("/docs", "This description for people", schemas.Asked, None, is_open=True),
]
ROUTES = {route.path: route for route in ALL}


@cache
def asked_of(path: str) -> Schema:
    """The shape of what may be asked of *path*."""
    return ROUTES[path].asked()
