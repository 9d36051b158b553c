"""Joins the web server to the settings."""

import contextlib
from collections.abc import Callable, Iterator

from alerts.labels import Labels
from alerts.links import Links
from monitor.alerting import links
from monitor.clock import Clock
from monitor.errors import ConfigError, Mistake
from monitor.settings import Settings
from monitor.stage import Vital
from monitor.storage.store import Store
from monitor.web.alert_pages import AlertPages
from monitor.web.server import Web, listen
from monitor.web.site import site


def require_links(settings: Settings) -> Links:
    """What opens the links that messages carry.

    Raises: ConfigError, if messages carry none: then no page can be reached.
    """
    found = links(settings)
    if found is None:
        why = "missing; the pages of web are reached by links in messages, which need it"
        missing = [name for name in ("base_url", "link_secret") if getattr(settings.alerts, name) is None]
        raise ConfigError("config.toml", [Mistake(f"alerts.{name}", why) for name in missing])
    return found


class WebPages(Web):
    """The web server, and what its pages follow while the daemon runs."""

    def __init__(self, pages: AlertPages, *, settings: Settings, vital: Vital) -> None:
        super().__init__(site(pages), listen(settings.web), vital)
        self._pages = pages

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Makes ready what these settings say of alerts; the answer swaps it in.

        Raises: ConfigError, if messages have no links any more.
        """
        opens, labels = require_links(settings), Labels(settings.alerts)
        return lambda: self._pages.reload(opens, labels)


@contextlib.contextmanager
def build_web(settings: Settings, store: Store, clock: Clock) -> Iterator[WebPages]:
    """The web server, listening already; closed with the block.

    Raises: ConfigError, if messages have no links, or the address cannot be listened on.
    """
    opens, vital = require_links(settings), Vital(clock)
    pages = AlertPages(store, opens, Labels(settings.alerts), clock, vital)
    with contextlib.closing(WebPages(pages, settings=settings, vital=vital)) as web:
        yield web
