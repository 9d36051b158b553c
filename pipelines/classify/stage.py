"""Labels the articles whose language the model knows, and passes the others on as they are."""

from collections.abc import Sequence

import anyio.to_thread
import structlog

from monitor.bus.bus import Message, Received
from monitor.domain.article import Article
from monitor.domain.labels import LabelledArticle
from monitor.domain.record import decode, encode
from monitor.errors import RecordError
from monitor.settings import ClassifySettings
from monitor.stage import Outcome, Rejected
from pipelines.classify.classifier import Classifier

log = structlog.get_logger(__name__)


class Classify:
    """The processor of the classify stage."""

    def __init__(self, classifier: Classifier, settings: ClassifySettings) -> None:
        self._classifier = classifier
        self._settings = settings

    async def process(self, batch: Sequence[Received]) -> Outcome:
        articles: list[Article] = []
        rejected: list[Rejected] = []
        for message in batch:
            try:
                articles.append(decode(Article, message.value))
            except RecordError as error:
                rejected.append(Rejected(message, error))
        known = [article for article in articles if article.language in self._settings.languages]
        labels = await anyio.to_thread.run_sync(self._classifier.label, [article.text for article in known])
        label_of = {article.id: label for article, label in zip(known, labels, strict=True)}
        labelled = [LabelledArticle(article=article, label=label_of.get(article.id)) for article in articles]
        log.debug("batch_labelled", rows=len(known), unlabelled=len(articles) - len(known))
        return Outcome([Message(item.article.id, encode(item)) for item in labelled], rejected)
