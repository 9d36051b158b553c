"""The streams by name, and who reads them. What a message is keyed by decides its partition, and so its order."""

from enum import StrEnum
from zlib import crc32


class Stream(StrEnum):
    """One stream per record of the chain; the comment names its key."""

    ARTICLES = "articles"  # article id
    LABELLED = "labelled"  # article id
    SPIKES = "spikes"  # the same for all, so that they stay in the order in which they were stated
    DEAD_LETTERS = "dead-letters"  # stage


class Group(StrEnum):
    """The consumer groups; each reads one stream, and every stage is one group."""

    CLASSIFY = "classify"
    AGGREGATE = "aggregate"
    ALERTS = "alerts"
    DEAD_LETTERS = "dead-letters"


READS: dict[Group, Stream] = {
    Group.CLASSIFY: Stream.ARTICLES,
    Group.AGGREGATE: Stream.LABELLED,
    Group.ALERTS: Stream.SPIKES,
    Group.DEAD_LETTERS: Stream.DEAD_LETTERS,
}


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same in every process and on every run."""
    return crc32(key.encode("utf-8", "surrogatepass")) % partitions
