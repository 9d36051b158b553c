"""How fast texts are labelled here, beside the same weights in a plain pipeline, and against the machine's ceiling."""

import asyncio
import importlib.util
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
import torch
from torch import nn

from pipelines.classify.batch import plan
from pipelines.classify.models._network import Network
from pipelines.classify.models._opening import open_model

log = structlog.get_logger(__name__)

TIE: Final = 1e-2  # two labels this close may change places with the rounding of another batch
ROUNDS: Final = 3
_PLAIN: Final = 512  # texts that the slow ways are timed on, out of the same file
_LOAD: Final = 0.7  # share of what it can carry that arrives while the queue is timed
_ARRIVALS_S: Final = 6.0

Rate = dict[str, Any]


def measure(
    model: Path, texts: Sequence[str], *, device: str = "auto", precision: str = "auto", threads: int = 0
) -> dict[str, Any]:
    """Every figure of one run. The ways take turns, so that a noisy machine disturbs them alike.

    Units: `documents_per_s` is the median of the rounds; shares in [0, 1]; waits in milliseconds; rates in GFLOP/s.
    """
    started = time.perf_counter()
    network = Network.load(model, device=device, precision=precision, threads=threads)
    loaded_s = time.perf_counter() - started
    lengths = token_counts(network, texts)
    sample = list(random.Random(7).sample(list(texts), min(_PLAIN, len(texts))))

    ways: dict[str, tuple[Callable[[Sequence[str]], Any], Sequence[str]]] = {"monitor": (network.probabilities, texts)}
    for size in (1, 32):
        ways[f"transformers.pipeline, batch {size}"] = (_pipeline(model, network, size), sample)
    if importlib.util.find_spec("infinity_emb") is not None:
        ways["infinity_emb"] = (_infinity(model, network), sample)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    ceilings = []
    for _ in range(ROUNDS):
        ceilings.append(gemm_gflops(network))
        for name, (label, part) in ways.items():
            start = time.perf_counter()
            label(part)
            speeds[name].append(len(part) / (time.perf_counter() - start))
            log.info("bench_round", way=name, documents_per_s=round(speeds[name][-1], 1))
    rates: dict[str, Rate] = {
        name: {"documents_per_s": round(statistics.median(found), 1), "texts": len(ways[name][1])}
        for name, found in speeds.items()
    }
    ours = rates["monitor"]["documents_per_s"]
    for rate in rates.values():
        rate["times_slower_than_monitor"] = round(ours / rate["documents_per_s"], 2)
    planned = plan(lengths, max_tokens=network.costs.max_tokens, call_tokens=network.costs.call_tokens)
    flops = statistics.mean(flop(network, length) for length in lengths)
    ceiling = statistics.median(ceilings)
    return {
        "model": network.version,
        "device": network.device if network.device == "cpu" else torch.cuda.get_device_name(),
        "precision": network.precision,
        "precisions_tried_s": network.tried,
        "threads": torch.get_num_threads(),
        "loading_s": round(loaded_s, 2),
        "texts": len(texts),
        "tokens_per_text": round(statistics.mean(lengths), 1),
        "rates": rates,
        "padding_waste": round(planned.waste, 4),
        "arrival_order_32_waste": round(_arrival_waste(lengths, 32), 4),
        "gemm_gflops": round(ceiling, 1),
        "used_gflops": round(ours * flops / 1e9, 1),
        "share_of_gemm": round(ours * flops / 1e9 / ceiling, 3),
        "queue": asyncio.run(_queue(network, sample, ours * _LOAD)),
        "against_one_by_one": agreement(network, sample),
        "peak_memory_mb": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        ),
    }


def token_counts(network: Network, texts: Sequence[str]) -> list[int]:
    return [len(ids) for ids in network.encode(texts)]


def flop(network: Network, tokens: int) -> float:
    """Floating-point operations of a text of this length: two a weight and token in the layers, and attention."""
    config: Any = network.model.config
    layers, width = int(config.num_hidden_layers), int(config.hidden_size)
    weights: int = layers * (4 * width**2 + 2 * width * config.intermediate_size)
    return 2.0 * weights * tokens + 4.0 * layers * tokens**2 * width


def gemm_gflops(network: Network) -> float:
    """The best rate of this machine's matrix multiply, in the network's precision and threads, in its largest shape."""
    config: Any = network.model.config
    rows = network.costs.max_tokens
    width, inner = int(config.hidden_size), int(config.intermediate_size)
    layer = network.convert(nn.Linear(width, inner).requires_grad_(False).to(network.device))
    given = torch.randn(rows, width, device=network.device, dtype=network.dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(20):
            start = time.perf_counter()
            layer(given)
            if network.device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
    return 2 * rows * width * inner / best / 1e9


def agreement(network: Network, texts: Sequence[str]) -> dict[str, Any]:
    """Whether a text's labels depend on its neighbours: batched against one call each."""
    together = network.probabilities(texts)
    alone = np.concatenate([network.probabilities([text]) for text in texts])
    differing = ties = 0
    for head in network.heads:
        both = together[:, head.start : head.end], alone[:, head.start : head.end]
        moved = both[0].argmax(1) != both[1].argmax(1)
        ordered = np.sort(both[0], axis=1)
        tied = ordered[:, -1] - ordered[:, -2] < TIE
        differing, ties = differing + int((moved & ~tied).sum()), ties + int((moved & tied).sum())
    return {
        "labels": len(texts) * len(network.heads),
        "differing": differing,
        "differing_ties": ties,
        "largest_difference": round(float(np.nanmax(np.abs(together - alone))), 5),
    }


def _arrival_waste(lengths: Sequence[int], size: int) -> float:
    padded = sum(len(part) * max(part) for part in (lengths[at : at + size] for at in range(0, len(lengths), size)))
    return 1 - sum(lengths) / padded


async def _queue(network: Network, texts: Sequence[str], per_s: float) -> dict[str, Any]:
    """Waits of texts that arrive at random, from arrival to the start of the call that labels them."""
    rng = random.Random(7)
    arrivals: list[float] = []
    at = 0.0
    while at < _ARRIVALS_S:
        at += rng.expovariate(per_s)
        arrivals.append(at)
    waits: list[float] = []
    start = time.perf_counter()
    done = 0
    while done < len(arrivals):
        now = time.perf_counter() - start
        if arrivals[done] > now:
            await asyncio.sleep(arrivals[done] - now)
            continue
        ready = done
        while ready < len(arrivals) and arrivals[ready] <= now:
            ready += 1
        waits += [now - arrived for arrived in arrivals[done:ready]]
        await asyncio.to_thread(network.probabilities, [texts[index % len(texts)] for index in range(done, ready)])
        done = ready
    p50, p99 = np.percentile(waits, (50, 99))
    return {
        "arriving_per_s": round(per_s, 1),
        "texts": len(waits),
        "wait_p50_ms": round(1000 * float(p50), 1),
        "wait_p99_ms": round(1000 * float(p99), 1),
    }


def _pipeline(model: Path, network: Network, size: int) -> Callable[[Sequence[str]], Any]:
    """What one writes first: the library's own pipeline, single precision, texts in the order they come."""
    import transformers

    make: Any = transformers.pipeline  # its overloads name no model that is loaded already
    plain, tokenizer = open_model(str(model))
    ready = make("text-classification", model=plain.eval(), tokenizer=tokenizer, device=network.device, top_k=None)
    return lambda texts: ready(list(texts), batch_size=size, truncation=True, max_length=network.max_tokens)


def _infinity(model: Path, network: Network) -> Callable[[Sequence[str]], Any]:
    """An inference server's engine, in this process, on the same weights."""
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    engine = AsyncEmbeddingEngine.from_args(
        EngineArgs(
            model_name_or_path=str(model), engine="torch", device=network.device, batch_size=32, model_warmup=False
        )
    )

    async def label(texts: Sequence[str]) -> None:
        async with engine:
            await engine.classify(sentences=list(texts), raw_scores=True)

    return lambda texts: asyncio.run(label(texts))
