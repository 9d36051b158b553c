"""Which alerts are quiet because a greater one fires.

Source: the inhibitor of Prometheus Alertmanager.
"""

from collections.abc import Collection, Mapping, Sequence

from monitor.alert_settings import InhibitRule
from monitor.domain.matchers import all_match

Labels = Mapping[str, str]


def inhibited(
    labels: Labels, alert_id: str, firing: Collection[tuple[str, Labels]], rules: Sequence[InhibitRule]
) -> tuple[str, InhibitRule] | None:
    """The alert that keeps this one quiet, by its id, and the rule that says so; None: nothing does.

    `firing`: id and labels of all that fires, this one or not. No alert quiets itself; what a rule names on both sides
    is not quieted by another that it names on both: else the two would silence each other. A label of `equal` that both
    lack is equal.
    """
    for rule in rules:
        if not all_match(rule.target_matchers, labels):
            continue
        both = all_match(rule.source_matchers, labels)
        for source_id, source in firing:
            if (
                source_id != alert_id
                and all_match(rule.source_matchers, source)
                and all(labels.get(name, "") == source.get(name, "") for name in rule.equal)
                and not (both and all_match(rule.target_matchers, source))
            ):
                return source_id, rule
    return None
