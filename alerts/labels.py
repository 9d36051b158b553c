"""What routes, silences and inhibition know of an alert."""

from monitor.alert_settings import AlertSettings
from monitor.domain.matchers import all_match
from monitor.domain.spikes import Severity
from monitor.domain.windows import Key


class Labels:
    """Labels alerts: kind, key, severity, then what labels_file says of the key, then what the rules add, in order.
    A rule that sets a label to nothing takes it away.

    Names of keys are looked up in the file whatever their capitals: the same company is "Delmar Steel" in one feed and
    "DELMAR STEEL" in the next. Matchers, as Alertmanager's, do tell them apart.
    """

    def __init__(self, settings: AlertSettings) -> None:
        self._by_key = settings.labels_by_key
        self._rules = settings.labels

    def of(self, key: Key, severity: Severity) -> dict[str, str]:
        labels = {"kind": str(key.kind), "key": key.name, "severity": str(severity)}
        labels |= self._by_key.get(key.name.strip().casefold(), {})
        for rule in self._rules:
            if all_match(rule.matchers, labels):
                labels |= rule.set
        return {name: value for name, value in labels.items() if value}
