"""An article: one publication of one text by one source."""

from typing import Literal

from monitor.domain.record import Record, UtcDatetime


class Article(Record):
    """One entry of a feed, cleaned: no markup, bounded lengths, a trustworthy time.

    `id` is a hash of what makes it the same article (source + guid, else canonical URL, else title + body), so
    that meeting it again changes nothing. `story_id` is shared by articles that tell the same story.
    `published_at` is the publisher's time where that is plausible, else the fetch time; `time_basis` says which.

    Units: every time aware, in UTC; `language` an ISO 639-1 code as detected, "und" where nothing could be told.
    """

    id: str
    story_id: str
    source: str
    guid: str | None = None
    url: str | None = None
    title: str
    summary: str = ""
    language: str
    declared_language: str | None = None
    published_at: UtcDatetime
    time_basis: Literal["publisher", "fetch"]
    fetched_at: UtcDatetime

    @property
    def text(self) -> str:
        """Title, then summary: what a classifier reads."""
        return f"{self.title}\n{self.summary}" if self.summary else self.title
