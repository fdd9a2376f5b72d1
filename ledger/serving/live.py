"""Who is watching, and what each watcher is told the moment it is true.

One hub serves WebSocket and SSE alike. A feed is computed once for all viewers who stand at the same cursor, its
frame is built once, and each send is stepped at once instead of being given to a task. A viewer who does not
read gets a bounded queue, then one notice to ask again, and after half a minute the door: it never delays others.
"""
from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import msgspec

from ledger.errors import LedgerError, Problem
from ledger.serving.frames import feed_frame, says_nothing
from ledger.serving.subscription import EVERYTHING, Subscription, subscription_of
from ledger.serving.turns import Turns
from ledger.serving.viewers import Admission, Frame, Message, Rest, Send, Viewer
from ledger.times import iso
from ledger.views.share import owner_of

MERGE_S = 0.05
"""Changes within this window travel together; the first one travels at once."""
MOST_VIEWERS = 12_000
LONGEST_QUEUE = 64
LONGEST_SAID = 64 * 1024
STUCK_S = 30.0
SILENCE_MS = 60_000
RECHECK_S = 10.0
REFRESH_S = 60.0
"""Some news is made by time alone (a session falls idle, a window ends): viewers are told at least so often."""
SLICE = 128
_AGAIN_S = 1.0
_TICK_S = 1.0

Feed = Callable[[str, str | None, str, int], Mapping[str, Any]]
Got = TypeVar("Got")
log = logging.getLogger("live")


class Live:
    """The hub. Everything but changed() and broadcast() runs on the loop that start() was called on.

    *feed* answers (tenant, cursor, zone, sessions); *first* gives the messages a new viewer is greeted with
    (again when it says request_data). Both may block: they run in *pool*.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        clock: Callable[[], int],
        first: Callable[[Viewer], list[Message]] | None = None,
        beat_ms: int = 20_000,
    ) -> None:
        self._feed, self._clock, self._first = feed, clock, first
        self._beat_s = beat_ms / 1000
        self._viewers: dict[str, set[Viewer]] = {}
        self._shared: defaultdict[str, set[str]] = defaultdict(set)
        """By tenant, what of it is watched: itself, and what it shares."""
        self._versions: dict[str, int] = {}
        self._due: dict[str, asyncio.TimerHandle | None] = {}
        self._told: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: Executor | None = None
        self._turns = Turns()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_id = 0
        self._tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)

    # What other threads may call.

    def changed(self, tenant: str) -> None:
        """The ledger of *tenant* changed: its viewers are told, at once or within the merge window."""
        self._versions[tenant] = self._versions.get(tenant, 0) + 1
        self._on_loop(self._schedule_all, tenant)

    def broadcast(self, tenant: str, message: Message) -> None:
        """Send *message* to every viewer of *tenant*, subscribed or not."""
        self._on_loop(self._broadcast, tenant, message)

    def _broadcast(self, tenant: str, message: Message) -> None:
        self._begin(self._offer_all(list(self._viewers.get(tenant, ())), Frame(message)))

    def version(self, tenant: str) -> int:
        """A number that differs after every change of *tenant*."""
        return self._versions.get(owner_of(tenant), 0)

    @property
    def count(self) -> int:
        return sum(len(viewers) for viewers in self._viewers.values())

    def statistics(self, tenant: str | None = None) -> dict[str, int]:
        """Sums of this process, or of one tenant: nobody is told of anybody else's viewers."""
        if tenant is None:
            tallies, current = list(self._tallies.values()), self.count
        else:
            tallies, current = [self._tallies.get(tenant, Counter())], len(self._viewers.get(tenant, ()))
        total, sent, errors = (sum(tally[what] for tally in tallies) for what in ("total", "sent", "errors"))
        return {"total_connections": total, "current_connections": current, "messages_sent": sent, "errors": errors}

    def _on_loop(self, call: Callable[..., None], *words: Any) -> None:
        loop = self._loop
        if loop is None or loop.is_closed() or not self._viewers:
            return
        try:
            loop.call_soon_threadsafe(call, *words)
        except RuntimeError:  # the loop closed between the question and the call: nobody is watching any more
            return

    # The life of the hub.

    def start(self, pool: Executor, turns: Turns | None = None) -> None:
        """Belong to the running loop and begin to tick. *turns* are those of all who work in *pool*."""
        self._loop, self._pool, self._turns = asyncio.get_running_loop(), pool, turns or Turns()
        self._begin(self._beating())
        self._begin(self._ticking())

    def stop(self) -> None:
        """Let every viewer go and stop ticking."""
        for task in self._tasks:
            task.cancel()
        for viewers in self._viewers.values():
            for viewer in viewers:
                viewer.gone.set()

    async def _beating(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            watching = [viewer for viewers in self._viewers.values() for viewer in viewers if viewer.subscribed and not viewer.busy]
            if watching:
                await self._offer_all(watching, Frame({"type": "hb", "server_time": iso(self._clock())}))

    async def _ticking(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            ticks += 1
            await self.tick(recheck=ticks % int(RECHECK_S / _TICK_S) == 0)
            if ticks % int(REFRESH_S / _TICK_S) == 0:
                self.refresh()

    def refresh(self) -> None:
        """Look for what time alone has changed."""
        for tenant in list(self._viewers):
            self._schedule(tenant)

    async def tick(self, *, recheck: bool = False) -> None:
        """Ping the silent, close the stuck, and every ten seconds whoever may no longer stay."""
        now, loop_now = self._clock(), asyncio.get_running_loop().time()
        viewers = [viewer for group in self._viewers.values() for viewer in group]
        for viewer in viewers:
            if viewer.busy and loop_now - viewer.busy_since > STUCK_S:
                self._close(viewer)
            elif not viewer.is_sse and now - viewer.heard >= SILENCE_MS:
                viewer.heard = now
                self.offer(viewer, Frame({"type": "ping", "timestamp": iso(now)}))
        if recheck:
            verdicts = await asyncio.get_running_loop().run_in_executor(self._pool, lambda: [_stays(viewer.admission) for viewer in viewers])
            for viewer, stays in zip(viewers, verdicts, strict=True):
                if not stays:
                    viewer.gone.set()

    # Viewers come, speak and go.

    def join(self, admission: Admission, send: Send, *, is_sse: bool, abort: Callable[[], None]) -> Viewer:
        """A new viewer. Raises Problem 503 when there is no room for one more."""
        if self.count >= MOST_VIEWERS:
            raise Problem(503, "store-unavailable", "too many viewers: try again in a minute", headers={"Retry-After": "60"})
        self._next_id += 1
        self._tallies[admission.tenant]["total"] += 1
        now = self._clock()
        viewer = Viewer(f"client_{self._next_id}", admission, send, is_sse, abort, heard=now, asked_at=now, hinted=self.version(admission.tenant))
        self._viewers.setdefault(viewer.tenant, set()).add(viewer)
        self._shared[owner_of(viewer.tenant)].add(viewer.tenant)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        group = self._viewers.get(viewer.tenant, set())
        group.discard(viewer)
        if not group:
            self._viewers.pop(viewer.tenant, None)
            self._shared[owner_of(viewer.tenant)].discard(viewer.tenant)
            if not self._shared[owner_of(viewer.tenant)]:
                del self._shared[owner_of(viewer.tenant)]
            self._told.pop(viewer.tenant, None)
        viewer.gone.set()
        viewer.turn += 1
        viewer.waiting.clear()
        if viewer.busy:
            viewer.busy.cancel()

    async def greet(self, viewer: Viewer) -> None:
        """The first messages, before anything else."""
        if self._first is None:
            return
        first = self._first
        for message in await self._in_pool(viewer.tenant, lambda: first(viewer)):
            self.offer(viewer, Frame(message))

    async def hear(self, viewer: Viewer, raw: str | bytes) -> None:
        """Answer one message of a viewer. What is not JSON or of no known type is ignored; nothing closes the channel."""
        now = viewer.heard = self._clock()
        if len(raw) > LONGEST_SAID:
            return
        try:
            message = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        if not isinstance(message, dict):
            return
        try:
            await self._answer(viewer, message, now)
        except LedgerError as error:
            self._tallies[viewer.tenant]["errors"] += 1
            self.offer(viewer, Frame({"type": "error", "detail": str(error)}))
        except Exception as error:  # our fault, and no reason to close the channel
            self._tallies[viewer.tenant]["errors"] += 1
            log.error("a message could not be answered", exc_info=error)

    async def _answer(self, viewer: Viewer, message: Message, now: int) -> None:
        match message.get("type"):
            case "ping":
                self.offer(viewer, Frame({"type": "pong", "timestamp": iso(now)}))
            case "heartbeat":
                self.offer(viewer, Frame({"type": "heartbeat_ack", "timestamp": iso(now)}))
            case "request_data":
                if viewer.may_ask(now):
                    await (self.greet(viewer) if self._first else self._show(viewer))
            case "subscribe":
                if viewer.may_ask(now):
                    await self.subscribe(viewer, subscription_of(message))

    async def subscribe(self, viewer: Viewer, asked: Subscription = EVERYTHING) -> None:
        """From now on the viewer gets the feed; first what it has missed since its cursor."""
        viewer.subscribed, viewer.turn = False, viewer.turn + 1
        since, viewer.tz, viewer.sessions = asked
        turn, version = viewer.turn, self.version(viewer.tenant)
        feed = await self._in_pool(viewer.tenant, lambda: self._feed(viewer.tenant, since, viewer.tz, viewer.sessions))
        if viewer.turn != turn or viewer.gone.is_set():
            return  # it subscribed anew, or left, meanwhile
        viewer.cursor, viewer.subscribed = feed.get("cursor"), True
        self.offer(viewer, Frame(feed_frame(feed, since)))
        if self.version(viewer.tenant) != version:
            self._schedule(viewer.tenant)

    async def _show(self, viewer: Viewer) -> None:
        """Everything once, for a viewer who asks without subscribing; one who did gets what it missed."""
        if viewer.subscribed:
            await self.subscribe(viewer, Subscription(viewer.cursor, viewer.tz, viewer.sessions))
            return
        feed = await self._in_pool(viewer.tenant, lambda: self._feed(viewer.tenant, None, viewer.tz, viewer.sessions))
        self.offer(viewer, Frame(feed_frame(feed, None)))

    # Telling.

    def _schedule_all(self, tenant: str) -> None:
        for name in tuple(self._shared.get(tenant, ())):
            self._schedule(name)

    def _schedule(self, tenant: str) -> None:
        assert self._loop is not None
        if tenant in self._due or tenant not in self._viewers:
            return
        wait = self._told.get(tenant, -1.0) + MERGE_S - self._loop.time()
        if wait <= 0:
            self._due[tenant] = None
            self._begin(self._tell(tenant))
        else:
            self._due[tenant] = self._loop.call_later(wait, lambda: self._begin(self._tell(tenant)))

    async def _tell(self, tenant: str) -> None:
        """Everyone subscribed gets what changed since their cursor."""
        assert self._loop is not None
        version = self.version(tenant)
        self._told[tenant] = self._loop.time()
        await self._hint(tenant, version)
        try:
            for (cursor, tz, sessions), group in self._groups(tenant).items():
                feed = await self._in_pool(tenant, partial(self._feed, tenant, cursor, tz, sessions))
                if says_nothing(feed, cursor):
                    continue
                frame = Frame(feed_frame(feed, cursor))
                here = [viewer for viewer, turn in group if viewer.turn == turn and viewer.cursor == cursor]
                for viewer in here:
                    viewer.cursor = feed.get("cursor")
                await self._offer_all(here, frame)
        except LedgerError as error:
            self._tallies[tenant]["errors"] += 1
            log.warning("the feed could not be read, trying again: %s", error)
            self._due[tenant] = self._loop.call_later(_AGAIN_S, lambda: self._begin(self._tell(tenant)))
            return
        except Exception as error:
            self._tallies[tenant]["errors"] += 1
            log.error("the feed failed", exc_info=error)
        del self._due[tenant]
        if self.version(tenant) != version:
            self._schedule(tenant)

    async def _hint(self, tenant: str, version: int) -> None:
        """Whoever never subscribed hears at least that there is something new to ask for."""
        others = [viewer for viewer in self._viewers.get(tenant, ()) if not viewer.turn and viewer.hinted != version]
        for viewer in others:
            viewer.hinted = version
        if self._first is None and others:
            await self._offer_all(others, _CHANGED)

    def _groups(self, tenant: str) -> dict[tuple[str | None, str, int], list[tuple[Viewer, int]]]:
        groups: dict[tuple[str | None, str, int], list[tuple[Viewer, int]]] = {}
        for viewer in self._viewers.get(tenant, ()):
            if viewer.subscribed:
                groups.setdefault((viewer.cursor, viewer.tz, viewer.sessions), []).append((viewer, viewer.turn))
        return groups

    async def _offer_all(self, viewers: Iterable[Viewer], frame: Frame) -> None:
        for place, viewer in enumerate(viewers, 1):
            self.offer(viewer, frame)
            if place % SLICE == 0:
                await asyncio.sleep(0)  # requests get in between

    def offer(self, viewer: Viewer, frame: Frame) -> None:
        """Send now if the channel is free, else queue; a full queue becomes one notice to ask again."""
        if viewer.gone.is_set():
            return
        if viewer.busy:
            if len(viewer.waiting) >= LONGEST_QUEUE:
                viewer.waiting.clear()
                viewer.waiting.append(_CHANGED)
            elif not (len(viewer.waiting) == 1 and viewer.waiting[0].text["text"] == _NOTICE):
                viewer.waiting.append(frame)
            return
        rest = self._step(viewer, frame)
        if rest is not None:
            viewer.busy_since = asyncio.get_running_loop().time()
            viewer.busy = self._begin(self._drain(viewer, rest))

    def _step(self, viewer: Viewer, frame: Frame) -> Rest | None:
        """Run the send until it waits; nearly always it does not."""
        begun = viewer.send(frame.sse if viewer.is_sse else frame.text)
        try:
            until = begun.send(None)
        except StopIteration:
            self._tallies[viewer.tenant]["sent"] += 1
            return None
        except Exception:  # the channel is closed under us: whatever the server raises means that
            viewer.gone.set()
            return None
        return Rest(begun, until)

    async def _drain(self, viewer: Viewer, rest: Rest | None) -> None:
        try:
            while True:
                if rest is not None:
                    await rest
                    self._tallies[viewer.tenant]["sent"] += 1
                    viewer.busy_since = asyncio.get_running_loop().time()
                if not viewer.waiting or viewer.gone.is_set():
                    return
                rest = self._step(viewer, viewer.waiting.popleft())
        except Exception:  # as in _step
            viewer.gone.set()
        finally:
            viewer.busy = None

    def _close(self, viewer: Viewer) -> None:
        self._tallies[viewer.tenant]["errors"] += 1
        viewer.gone.set()
        viewer.abort()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _in_pool(self, tenant: str, ask: Callable[[], Got]) -> Got:
        async with self._turns.of_tenant(tenant):
            return await asyncio.get_running_loop().run_in_executor(self._pool, ask)


_CHANGED = Frame({"type": "changed", "head": None})
_NOTICE = _CHANGED.text["text"]


def _stays(admission: Admission) -> bool:
    try:
        return admission.still()
    except LedgerError:
        return True  # the store cannot say: asked again soon
