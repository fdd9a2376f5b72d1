"""What a correct sender does: each scene is a relay with a script, before which an agent plays that holds at least two records.

A scene runs the agent until it comes to rest, as often as it takes: a run is one attempt to make the relay hold the truth.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from tests.compliance.client import Reply
from tests.compliance.receiver import Failed, Verdict
from tests.compliance.stage import Asked, Honest, Stage

RUNS = 5
STRANGER = b"\x5a" * 32
PAUSE_S = 3


class Agent(Protocol):
    """The sender under test, with a memory of its own in every scene."""

    def run(self, stage: Stage) -> None:
        """Try to make the relay hold the truth; come back when done or when there is nothing more to try for now."""
        ...


Scene = Callable[[Stage, Agent], None]
SCENES: list[Scene] = []


def scene(function: Scene) -> Scene:
    SCENES.append(function)
    return function


def verdicts(cast: Callable[[], tuple[Stage, Agent]]) -> Iterator[Verdict]:
    """Play every scene, each with a stage and an agent of its own."""
    for each in SCENES:
        name = each.__name__.replace("_", " ")
        stage, agent = cast()
        try:
            each(stage, agent)
            blame(stage)
        except Failed as failed:
            yield Verdict(name, "; ".join(dict.fromkeys([*stage.faults, str(failed)])))
        else:
            yield Verdict(name)


def blame(stage: Stage) -> None:
    if stage.strayed:
        stage.faults.append(f"it asked for {stage.strayed[0]}")
    if stage.faults:
        raise Failed(stage.faults[0])


def settle(stage: Stage, agent: Agent, done: Callable[[], bool] | None = None) -> None:
    """Run until the relay shows a committed copy."""
    for _ in range(RUNS):
        agent.run(stage)
        if done() if done else stage.receiver.committed:
            return
    raise Failed("it never came to rest with what it should have sent")


def once(answer: Callable[[Asked, Honest], Reply | None], stage: Stage, *, when: Callable[[Asked], bool] = lambda asked: True, times: int = 1) -> list[Asked]:
    """Let *answer* come between for the first messages of that kind; those that it met."""
    met: list[Asked] = []

    def act(asked: Asked, honest: Honest) -> Reply | None:
        if len(met) < times and when(asked):
            met.append(asked)
            return answer(asked, honest)
        return honest()

    stage.act = act
    return met


def carries(asked: Asked) -> bool:
    return asked.type == "push" and bool(asked.puts)


def met_once(met: list[Asked]) -> None:
    if not met:
        raise Failed("it sent no push with records in it")


@scene
def it_takes_the_offered_lease_and_ends_with_a_commit(stage: Stage, agent: Agent) -> None:
    kinds: list[str] = []

    def act(asked: Asked, honest: Honest) -> Reply | None:
        reply = honest()
        kinds.append(reply.kind)
        return reply

    stage.act = act
    settle(stage, agent)
    if kinds[0] != "409 lease" or set(kinds[1:]) != {"200"}:
        raise Failed(f"a quiet relay answered {', '.join(kinds)}")
    commits = [asked for asked in stage.asked if asked.said.get("commit")]
    later = stage.asked[stage.asked.index(commits[0]) + 1 :] if commits else []
    if any(carries(asked) for asked in later):
        raise Failed("it committed before everything was sent")
    if len(stage.rows) < 2:
        raise Failed("it holds fewer than two records: give it something to send")


@scene
def it_sends_no_more_changes_at_once_than_the_relay_takes(stage: Stage, agent: Agent) -> None:
    told: set[str] = set()

    def act(asked: Asked, honest: Honest) -> Reply | None:
        boot = str(asked.said.get("agent", {}).get("boot"))  # another process may not know it yet
        if boot in told and asked.changes > 1:
            stage.faults.append("it sends more changes than the relay said it takes")
        reply = honest()
        if reply.status == 200:
            told.add(boot)
            return stage.signed(asked, 200, **{**reply.document, "max_changes": 1})
        return reply

    stage.act = act
    settle(stage, agent)
    stage.receiver.lease = None  # and again with the whole copy to send
    stage.receiver.committed = False
    settle(stage, agent)


@scene
def an_unsigned_200_moves_nothing(stage: Stage, agent: Agent) -> None:
    met = once(lambda asked, honest: stage.unsigned(asked, 200, **stage.taken(asked)), stage, when=carries, times=2)
    settle(stage, agent)
    met_once(met)
    _stands_where_it_stood(stage, met[0])


@scene
def a_200_signed_by_a_stranger_moves_nothing(stage: Stage, agent: Agent) -> None:
    met = once(lambda asked, honest: stage.signed(asked, 200, secret=STRANGER, **stage.taken(asked)), stage, when=carries, times=2)
    settle(stage, agent)
    met_once(met)
    _stands_where_it_stood(stage, met[0])


@scene
def an_answer_to_another_message_moves_nothing(stage: Stage, agent: Agent) -> None:
    met = once(lambda asked, honest: stage.signed(asked, 200, id="msg_of_another", **stage.taken(asked), re="msg_of_another"), stage, when=carries, times=2)
    settle(stage, agent)
    met_once(met)
    _stands_where_it_stood(stage, met[0])


@scene
def a_lease_that_nobody_signed_is_not_taken(stage: Stage, agent: Agent) -> None:
    forged = "e" * 32
    once(lambda asked, honest: stage.unsigned(asked, 409, type="lease", lease=forged), stage, times=2)
    settle(stage, agent)
    if any(asked.said.get("lease") == forged for asked in stage.asked):
        raise Failed("it took a lease that the relay did not sign")


@scene
def a_login_page_moves_nothing(stage: Stage, agent: Agent) -> None:
    page = Reply(200, {"content-type": "text/html"}, b"<html><form action=/login>welcome to the hotel</form></html>")
    met = once(lambda asked, honest: page, stage, when=carries)
    settle(stage, agent)
    met_once(met)
    _stands_where_it_stood(stage, met[0])


@scene
def a_redirect_is_not_followed(stage: Stage, agent: Agent) -> None:
    statuses = iter((302, 307, 308))
    once(lambda asked, honest: Reply(next(statuses), {"location": f"{stage.url}/elsewhere", "content-type": "text/html"}, b""), stage, times=3)
    settle(stage, agent)


@scene
def a_lost_request_is_sent_again_as_it_was(stage: Stage, agent: Agent) -> None:
    met = once(lambda asked, honest: None, stage, when=carries)
    settle(stage, agent)
    met_once(met)
    _again_as_it_was(stage, met[0])


@scene
def a_lost_answer_costs_one_repeat_and_nothing_else(stage: Stage, agent: Agent) -> None:
    met = once(lambda asked, honest: honest() and None, stage, when=carries)
    settle(stage, agent)
    agent.run(stage)
    met_once(met)
    _again_as_it_was(stage, met[0])
    if any(asked.said.get("lease") is None for asked in stage.asked[stage.asked.index(met[0]) + 1 :]):
        raise Failed("it began a new copy because an answer was lost")


def _again_as_it_was(stage: Stage, lost: Asked) -> None:
    """The next push of the same process is the same bytes; a new process may burn the number instead."""
    after = [asked for asked in stage.asked[stage.asked.index(lost) + 1 :] if asked.type == "push"]
    if not after or (after[0].wire != lost.wire and after[0].said.get("agent", {}).get("boot") == lost.said.get("agent", {}).get("boot")):
        raise Failed("what was not answered was not sent again as it was")


def _stands_where_it_stood(stage: Stage, unheard: Asked) -> None:
    after = [asked for asked in stage.asked[stage.asked.index(unheard) + 1 :] if asked.type == "push"]
    if not after or (after[0].said.get("lease"), after[0].said.get("prev")) != (unheard.said.get("lease"), unheard.said.get("prev")):
        raise Failed("it took the relay's word from somebody else")


@scene
def a_relay_that_lost_everything_is_filled_again(stage: Stage, agent: Agent) -> None:
    settle(stage, agent)
    before = stage.rows
    fresh = type(stage.receiver)(stage.key, stage.url, stage.receiver.clock)
    stage.receiver = fresh
    settle(stage, agent)
    if stage.rows != before:
        raise Failed(f"of {len(before)} records {len(stage.rows & before)} came again")


@scene
def a_relay_that_went_back_in_time_is_filled_again(stage: Stage, agent: Agent) -> None:
    settle(stage, agent)
    before, receiver = stage.rows, stage.receiver
    lost = sorted(receiver.rows)[0]
    receiver.digest = (receiver.digest - receiver.rows.pop(lost)[1]) % (1 << 256)
    receiver.seq += 7
    settle(stage, agent, lambda: stage.rows == before and receiver.committed)


@scene
def a_number_that_was_refused_is_computed_anew(stage: Stage, agent: Agent) -> None:
    met = once(lambda asked, honest: honest() and stage.signed(asked, 422, type="digest-mismatch"), stage, when=carries)
    settle(stage, agent)
    met_once(met)
    later = [asked for asked in stage.asked[stage.asked.index(met[0]) + 1 :] if asked.wire == met[0].wire]
    if later:
        raise Failed("it sent again what was refused for good")


@scene
def a_message_that_is_too_large_is_split(stage: Stage, agent: Agent) -> None:
    def act(asked: Asked, honest: Honest) -> Reply | None:
        return stage.signed(asked, 413, type="too-large") if asked.changes > 1 else honest()

    stage.act = act
    settle(stage, agent)
    if len(stage.rows) < 2:
        raise Failed("records were given up that would have fitted alone")


@scene
def one_bad_record_does_not_keep_the_others_back(stage: Stage, agent: Agent) -> None:
    bad: list[tuple[str, str]] = []
    seen: set[tuple[str, str]] = set()

    def act(asked: Asked, honest: Honest) -> Reply | None:
        seen.update((put["k"], put["id"]) for put in asked.puts)
        if not bad and carries(asked):
            bad.append((asked.puts[0]["k"], asked.puts[0]["id"]))
        if any((put["k"], put["id"]) in bad for put in asked.puts):
            return stage.signed(asked, 400, type="malformed")
        return honest()

    stage.act = act
    settle(stage, agent)
    if stage.rows != seen - set(bad):
        raise Failed(f"of the {len(seen) - 1} others {len(stage.rows - set(bad))} arrived")


@scene
def a_pause_that_is_asked_for_is_kept_and_the_time_is_of_each_try(stage: Stage, agent: Agent) -> None:
    met = once(lambda asked, honest: stage.unsigned(asked, 429, {"retry-after": str(PAUSE_S)}, type="rate-limited"), stage, when=carries)
    settle(stage, agent)
    met_once(met)
    following = stage.asked[stage.asked.index(met[0]) + 1]
    if following.at - met[0].at < PAUSE_S - 0.1:
        raise Failed(f"asked for a pause of {PAUSE_S} s, it came back after {following.at - met[0].at:.1f} s")
    if int(following.headers["webhook-timestamp"]) - int(met[0].headers["webhook-timestamp"]) < PAUSE_S - 1:
        raise Failed("the second try carries the time of the first: it signs when it queues")


@scene
def a_clock_that_is_off_is_corrected_by_the_relay_s(stage: Stage, agent: Agent) -> None:
    stage.offset_s = 3600
    settle(stage, agent)


@scene
def a_refused_key_is_not_tried_again_and_again(stage: Stage, agent: Agent) -> None:
    stage.act = lambda asked, honest: stage.unsigned(asked, 401, type="key-revoked")
    agent.run(stage)
    if not stage.asked:
        raise Failed("it sent nothing")
    if len(stage.asked) > 2:
        raise Failed(f"after a refusal of its key it sent {len(stage.asked)} messages in one run")
    stage.act = lambda asked, honest: honest()
    settle(stage, agent)


@scene
def a_failing_relay_is_not_hammered_and_not_given_up(stage: Stage, agent: Agent) -> None:
    met = once(lambda asked, honest: Reply(503, {"content-type": "text/plain"}, b"down"), stage, times=3)
    settle(stage, agent)
    if len(met) == 3 and met[2].at - met[0].at < 0.02:
        raise Failed("it asked a failing relay three times without a pause")
