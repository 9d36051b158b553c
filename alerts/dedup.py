"""What has been told already is not told again."""

from collections.abc import Collection

from monitor.domain.alerts import Alert


def repeats(alert: Alert, sent_stories: Collection[str]) -> str | None:
    """Why this alert would say nothing new; None if it does.

    One burst shows on several keys, one after the other: on a topic first, on everything a tick later.
    """
    stories = {story.story_id for spike in alert.spikes for story in spike.stories}
    fresh = stories.difference(sent_stories)
    if stories and len(fresh) * 2 <= len(stories):
        return f"same stories: {len(stories) - len(fresh)} of {len(stories)} were sent before"
    return None
