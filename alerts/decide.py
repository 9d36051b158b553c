"""What a group's receiver is told now, and why not the rest: decided from records and times alone.

The order of the stages is Alertmanager's: inhibition, silences and time intervals, then what was told before, then the
budget. Source: the notification pipeline of Prometheus Alertmanager.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from alerts.budget import within
from alerts.inhibit import inhibited
from alerts.routes import Target
from alerts.words import minute
from monitor.alert_settings import AlertSettings, Receiver
from monitor.domain.alerts import Alert, Event, Verdict
from monitor.domain.matchers import all_match
from monitor.domain.record import fingerprint
from monitor.storage.groups import Group, Judged, Past, Told
from monitor.storage.silences import Silence


class Candidate(NamedTuple):
    """An alert, labelled, as the group knows it. `verdict`: what became of it so far.

    `leads_here` False: its labels have changed, and lead elsewhere now; what was told here is still to be ended.
    """

    alert: Alert
    acked_by: str | None
    verdict: Verdict
    detail: str | None
    told: Told | None
    leads_here: bool = True


class Circumstances(NamedTuple):
    """What else a decision depends on.

    `firing`: ids and labels of everything that fires, in this group or not. `past`: what the receiver was told within
    the memory for stories. `spent`: messages that count against its budget, in 24 h.
    """

    now: datetime
    settings: AlertSettings
    target: Target
    receiver: Receiver
    silences: Sequence[Silence]
    firing: Sequence[tuple[str, Mapping[str, str]]]
    past: Sequence[Past]
    spent: int


class Saying(NamedTuple):
    """A message to send. `about`: what makes it go, the strongest first; `beside`: what fires as well.

    `thread`: id of the message that told of the first alert for the first time; None: this one does.
    """

    id: str
    event: Event
    about: list[Alert]
    beside: list[Alert]
    thread: str | None

    @property
    def stories(self) -> set[str]:
        return {story for alert in self.about for story in alert.stories}


class Decision(NamedTuple):
    """What comes of a look at a group. `again_at`: when time alone may change it; None: only news can."""

    judged: list[Judged]
    sayings: list[Saying]
    again_at: datetime | None


class Wish(NamedTuple):
    """What one alert asks for, before the budget is asked."""

    candidate: Candidate
    event: Event


def decide(group: Group, candidates: Sequence[Candidate], given: Circumstances) -> Decision:
    """Looks at all alerts of a group. Each gets a verdict; none is left out."""
    judged: dict[str, Judged] = {}
    wishes: list[Wish] = []
    for candidate in candidates:
        found = _consider(candidate, given)
        if isinstance(found, Wish):
            wishes.append(found)
        else:
            judged[candidate.alert.id] = found
    ended = [wish for wish in wishes if wish.event is Event.RESOLVED]
    news = [wish for wish in wishes if wish.event is not Event.RESOLVED]
    sayings = []
    strongest = max((wish.candidate.alert.severity for wish in news), key=lambda severity: severity.rank, default=None)
    limit = given.receiver.budget_per_day
    if ended:
        sayings.append(_say(group, Event.RESOLVED, ended, [], given, judged))
    if strongest is not None and not within(strongest, given.spent, limit):
        detail = f"{given.spent} of {limit} messages of 24 h are spent; {strongest} may not use the rest"
        for wish in news:
            one = wish.candidate
            judged[one.alert.id] = Judged(one.alert.id, Verdict.BUDGET, detail, one.told)
    elif news:
        event = min((wish.event for wish in news), key=list(Event).index)
        beside = [
            one.alert
            for one in candidates
            if one.alert.id in judged and judged[one.alert.id].verdict in (Verdict.UNCHANGED, Verdict.ACKNOWLEDGED)
        ]
        for alert in beside:  # the message names it, so its repetition waits as well
            before = judged[alert.id]
            at = _looked_at(group, given.now, given.target)
            judged[alert.id] = before._replace(told=before.told and before.told._replace(at=at))
        sayings.append(_say(group, event, news, beside, given, judged))
    return Decision(list(judged.values()), sayings, _again_at(candidates, judged, given))


def ends_at(alert: Alert, settings: AlertSettings) -> datetime | None:
    """When an alert is over: once its key has been quiet for long enough. None: it fires."""
    if alert.resolved_at is None:
        return None
    return alert.resolved_at + timedelta(seconds=settings.keep_firing_for_s)


def next_flush(group: Group, changed_at: datetime, now: datetime, target: Target) -> datetime:
    """When a group is to be looked at for a change of then: after group_wait if it was idle, else on its grid."""
    interval = _step_s(target)
    # A clock that was wrong once must not hold alerts back for years.
    if group.flushed_at is None or group.flushed_at > now + timedelta(seconds=2 * interval):
        due = changed_at + timedelta(seconds=target.group_wait_s)
    else:
        # Where nothing has changed since, as after a restart, there is no hurry.
        since = changed_at if changed_at >= group.flushed_at else now
        passed = math.ceil((since - group.flushed_at).total_seconds() / interval)
        due = group.flushed_at + timedelta(seconds=interval * max(1, passed))
    return due if group.due_at is None else min(due, group.due_at)


def flushed(group: Group, decision: Decision, now: datetime, target: Target) -> Group:
    """The group after a look: what was due is done, and it is due again when time alone may change something."""
    if all(one.done for one in decision.judged):
        return group._replace(due_at=None, flushed_at=None)
    interval = _step_s(target)
    last = _looked_at(group, now, target)
    if decision.again_at is None:
        return group._replace(due_at=None, flushed_at=last)
    steps = max(1, math.ceil((decision.again_at - last).total_seconds() / interval))
    return group._replace(due_at=last + timedelta(seconds=interval * steps), flushed_at=last)


def _step_s(target: Target) -> float:
    """Width of the grid of a group, in seconds: no group is looked at more than once a second."""
    return max(target.group_interval_s, 1.0)


def _looked_at(group: Group, now: datetime, target: Target) -> datetime:
    """The point of the group's grid that a look counts for: a poll comes a moment later."""
    due = group.due_at or now
    interval = _step_s(target)
    return due + timedelta(seconds=interval * max(0, (now - due).total_seconds() // interval))


def _consider(candidate: Candidate, given: Circumstances) -> Judged | Wish:
    alert, told, settings = candidate.alert, candidate.told, given.settings
    over_at = ends_at(alert, settings)
    if over_at is not None and over_at <= given.now:
        return _consider_end(candidate, given)
    if not candidate.leads_here:
        return Judged(alert.id, Verdict.NO_RECEIVER, "its labels lead elsewhere now; only its end is told", told)
    why = _withheld(candidate, given)
    if why is not None:
        return Judged(alert.id, *why, told)
    if told is None or told.resolved:
        if (known := _same_stories(alert, given.past)) is not None:
            return Judged(alert.id, Verdict.SAME_STORIES, known, told)
        return Wish(candidate, Event.FIRING)
    if alert.severity.rank > told.severity.rank or (told.stories and _evidence(alert) >= 2 * told.stories):
        return Wish(candidate, Event.UPDATED)
    repeat_at = told.at + timedelta(seconds=given.target.repeat_interval_s)
    if repeat_at > given.now:
        return Judged(alert.id, Verdict.UNCHANGED, f"nothing new since {minute(told.at)}", told)
    if candidate.acked_by is not None:
        return Judged(alert.id, Verdict.ACKNOWLEDGED, f"by {candidate.acked_by}: not repeated", told)
    return Wish(candidate, Event.REPEATED)


def _consider_end(candidate: Candidate, given: Circumstances) -> Judged | Wish:
    """The end of what was told is told, silenced or not; only quiet hours make it wait."""
    alert, told = candidate.alert, candidate.told
    if told is None and candidate.verdict is Verdict.ENDED_UNTOLD:  # the routes were looked at again
        return Judged(alert.id, candidate.verdict, candidate.detail, told, done=True)
    if told is None:
        before = f"{candidate.verdict}{f' ({candidate.detail})' if candidate.detail else ''}"
        detail = f"it was over before it was told; until then: {before}"
        return Judged(alert.id, Verdict.ENDED_UNTOLD, detail, told, done=True)
    if told.resolved:
        return Judged(alert.id, Verdict.UNCHANGED, "its end was told", told, done=True)
    if not given.receiver.send_resolved:
        return Judged(alert.id, Verdict.UNCHANGED, "over; this receiver is not told so", told, done=True)
    if (interval := given.target.muted(given.now, alert.severity)) is not None:
        return Judged(alert.id, Verdict.QUIET_HOURS, f"{interval}; it is over", told)
    return Wish(candidate, Event.RESOLVED)


def _withheld(candidate: Candidate, given: Circumstances) -> tuple[Verdict, str] | None:
    """Why an alert that fires is not told at all, whatever was told of it."""
    alert, settings = candidate.alert, given.settings
    if alert.severity.rank < settings.min_severity.rank:
        return Verdict.BELOW_SEVERITY, f"{alert.severity}, below alerts.min_severity {settings.min_severity}"
    age = given.now - max(spike.detected_at for spike in alert.spikes)
    is_new = candidate.told is None and candidate.verdict in (Verdict.WAITING, Verdict.STALE)
    if is_new and age > timedelta(hours=settings.horizon_h):
        return Verdict.STALE, f"detected over {settings.horizon_h:g} h before its turn came: no news any more"
    source = inhibited(alert.labels, alert.id, given.firing, settings.inhibit)
    if source is not None:
        return Verdict.INHIBITED, f"alert {source[0][:8]} fires"
    for silence in given.silences:
        if all_match(silence.matchers, alert.labels):
            until = minute(silence.ends_at)
            return Verdict.SILENCED, f"{silence.id[:8]} by {silence.author} until {until}: {silence.comment}"
    if (interval := given.target.muted(given.now, alert.severity)) is not None:
        return Verdict.QUIET_HOURS, interval
    return None


def _same_stories(alert: Alert, past: Sequence[Past]) -> str | None:
    """Why an alert would say nothing new: one burst shows on several keys, one after the other."""
    stories = set(alert.stories)
    sent = {story for message in past if alert.id not in message.about for story in message.stories}
    if stories and 2 * len(stories & sent) >= len(stories):
        return f"{len(stories & sent)} of {len(stories)} stories were told before"
    return None


def _say(
    group: Group,
    event: Event,
    wishes: Sequence[Wish],
    beside: Sequence[Alert],
    given: Circumstances,
    judged: dict[str, Judged],
) -> Saying:
    """The message, and in `judged` what it tells."""
    order = {wish.candidate.alert.id: list(Event).index(wish.event) for wish in wishes}
    by_id = {wish.candidate.alert.id: wish.candidate for wish in wishes}
    about = sorted((one.alert for one in by_id.values()), key=lambda alert: (order[alert.id], *_strength(alert)))
    due = (group.due_at or given.now).isoformat()
    id_ = fingerprint("message", group.id, due, str(event), *sorted(by_id))
    for alert in about:
        before = by_id[alert.id].told
        # What fires again after its end begins anew; a message about it belongs to a new thread.
        begun = id_ if before is None or before.resolved else before.thread
        # By the grid: a repetition is then due on it, and not an interval later for the moment that a poll took.
        at = _looked_at(group, given.now, given.target)
        told = Told(at, alert.severity, _evidence(alert), event is Event.RESOLVED, begun)
        judged[alert.id] = Judged(alert.id, Verdict.SENT, str(event), told, done=told.resolved)
    first = judged[about[0].id].told
    thread = None if first is None or first.thread == id_ else first.thread
    return Saying(id_, event, about, sorted(beside, key=_strength), thread)


def _evidence(alert: Alert) -> int:
    """The most stories that one of its spikes rests on: what only flaps does not grow."""
    return max(len({story.story_id for story in spike.stories}) for spike in alert.spikes)


def _strength(alert: Alert) -> tuple[int, float, str]:
    return -alert.severity.rank, -alert.spikes[0].score, alert.id


_TIME_TELLS = frozenset(
    {Verdict.INHIBITED, Verdict.SILENCED, Verdict.QUIET_HOURS, Verdict.BUDGET, Verdict.SAME_STORIES}
)


def _again_at(candidates: Sequence[Candidate], judged: Mapping[str, Judged], given: Circumstances) -> datetime | None:
    """When to look again though nothing new comes."""
    moments = []
    for candidate in candidates:
        now = judged[candidate.alert.id]
        if now.done:
            continue
        if now.verdict in _TIME_TELLS:
            return given.now
        if (over_at := ends_at(candidate.alert, given.settings)) is not None:
            moments.append(over_at)
        if now.told is not None and not now.told.resolved and now.verdict is not Verdict.ACKNOWLEDGED:
            moments.append(now.told.at + timedelta(seconds=given.target.repeat_interval_s))
    return min(moments, default=None)


def strongest(alerts: Sequence[Alert]) -> tuple[int, float]:
    """Sorts groups: the strongest first, for the budget."""
    return min((_strength(alert)[:2] for alert in alerts), default=(0, 0.0))
