"""Everything that is kept, over one database."""

from monitor.storage.alert_retention import AlertRetention
from monitor.storage.alerts import Alerts
from monitor.storage.analysts import Analysts
from monitor.storage.articles import Articles
from monitor.storage.coverage import Coverage
from monitor.storage.database import Database
from monitor.storage.deliveries import Deliveries
from monitor.storage.feeds import Feeds
from monitor.storage.groups import Groups
from monitor.storage.leases import Leases
from monitor.storage.ops import DeadLetters, Health
from monitor.storage.recount import Recount, recount
from monitor.storage.sightings import Sightings
from monitor.storage.silences import Silences
from monitor.storage.spikes import Spikes


class Store:
    """The tables, grouped by who writes them.

    Raises: StoreError from every call, if the database cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.articles = Articles(database)
        self.feeds = Feeds(database)
        self.coverage = Coverage(database)
        self.sightings = Sightings(database)
        self.spikes = Spikes(database)
        self.alerts = Alerts(database)
        self.groups = Groups(database)
        self.silences = Silences(database)
        self.deliveries = Deliveries(database)
        self.alert_retention = AlertRetention(database)
        self.dead_letters = DeadLetters(database)
        self.health = Health(database)
        self.leases = Leases(database)
        self.analysts = Analysts(database)

    @classmethod
    async def open(cls, url: str) -> "Store":
        """Connects, and brings the schema up to date.

        Raises: ConfigError, if the URL cannot be used; StoreError, if the database cannot.
        """
        return cls(await Database.open(url))

    async def recount(self, resolution: str = "5m", *, negative_from: float) -> Recount:
        """The trends counted anew: see `monitor.storage.recount`."""
        return await recount(self._database, resolution, negative_from)

    async def aclose(self) -> None:
        await self._database.aclose()
