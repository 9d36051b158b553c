"""Classifier that is a fine-tuned transformer: the shipped one, one of the registry's, or any of Hugging Face's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from monitor.domain.labels import Label, Sentiment, Topic
from monitor.errors import ModelError
from monitor.plugins import PluginConfig
from pipelines.classify.classifier import Classifier, ClassifierDeps
from pipelines.classify.following import Following
from pipelines.classify.heads import HEADS, SENTIMENT, TOPIC, Head
from pipelines.classify.registry import Registry

if TYPE_CHECKING:  # torch takes a second to import: only what labels pays for it
    from pipelines.classify.models._network import Logits, Network


class Config(PluginConfig):
    """Which model, and how it computes."""

    kind: Literal["transformer"] = "transformer"
    model: str = Field(
        "", description="folder or Hugging Face name of the model; empty follows `monitor models promote`"
    )
    topic_model: str = Field("", description="another model for the topic alone")
    topic_labels: dict[str, str] = Field({}, description="what that model's labels mean, e.g. LABEL_0 = 'Dividend'")
    sentiment_model: str = Field("", description="another model for the sentiment alone, e.g. ProsusAI/finbert")
    sentiment_labels: dict[str, str] = Field({}, description="what its labels mean, e.g. LABEL_0 = 'negative'")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto is CUDA where there is some")
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto", description="auto is the fastest that agrees with fp32 on this machine, measured at start"
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="threads that compute on the CPU; 0 is all cores but one, which the rest of the daemon needs"
    )
    max_batch_tokens: Annotated[int, Field(ge=0, le=4_194_304)] = Field(
        0, description="tokens computed in one call, padding included; 0 is 2048 on a CPU, 65536 on CUDA"
    )
    compile: bool = Field(False, description="torch.compile: a minute at start, pays on CUDA under steady load")

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:  # noqa: ARG003  it has no secret
        return cls()


class Transformer:
    """Labels texts with one network for both questions, or with one for each.

    Score: softmax of each head's logits over its temperature, fitted on rows that were held out.
    """

    def __init__(self, networks: Sequence[tuple["Network", Sequence[Head]]]) -> None:
        self._networks = networks
        self.version = "+".join(dict.fromkeys(network.version for network, _ in networks))

    def label(self, texts: Sequence[str]) -> list[Label]:
        found: dict[str, Logits] = {}
        for network, heads in self._networks:
            probabilities = network.probabilities(texts)
            found.update({head.name: probabilities[:, head.start : head.end] for head in heads})
        topics, sentiments = found["topic"].tolist(), found["sentiment"].tolist()
        return [
            Label(
                topic=dict(zip(Topic, topic, strict=True)),
                sentiment=dict(zip(Sentiment, sentiment, strict=True)),
                model_version=self.version,
            )
            for topic, sentiment in zip(topics, sentiments, strict=True)
        ]

    def close(self) -> None:
        """Nothing works besides the calls."""


def assemble(config: Config, model: str | Path) -> Transformer:
    """The classifier of this configuration, with `model` for whatever no other model is named for.

    Raises: ModelError
    """
    from pipelines.classify.models._network import Network

    def load(name: str | Path, labels: dict[str, str]) -> "Network":
        return Network.load(
            name,
            labels=labels,
            device=config.device,
            precision=config.precision,
            threads=config.threads,
            max_batch_tokens=config.max_batch_tokens,
            compiled=config.compile,
        )

    named = {
        TOPIC.name: (config.topic_model, config.topic_labels),
        SENTIMENT.name: (config.sentiment_model, config.sentiment_labels),
    }
    networks: list[tuple[Network, list[Head]]] = []
    rest = [head for head in HEADS if not named[head.name][0]]
    if rest:
        networks.append((load(model, {}), rest))
    networks += [(load(*named[head.name]), [head]) for head in HEADS if head not in rest]
    for network, heads in networks:
        lacking = [head.name for head in heads if head not in network.heads]
        if lacking:
            raise ModelError(
                f"{network.version}: it does not say {lacking[0]}; set {lacking[0]}_model, or another model"
            )
    return Transformer(networks)


def build(config: Config, deps: ClassifierDeps) -> Classifier:
    """The classifier of this configuration; one that names no model follows the registry.

    Raises: ModelError
    """
    if config.model or (config.topic_model and config.sentiment_model):
        return assemble(config, config.model)
    return Following(Registry(deps.models, deps.clock), lambda folder: assemble(config, folder), deps.clock)
