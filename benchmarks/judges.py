"""Seconds to score 64 episodes with a judge that takes half a second per answer, at several numbers of requests in flight.

    python benchmarks/judges.py                          # concurrency 16 and 1, three interleaved repetitions: about two minutes
    python benchmarks/judges.py --concurrency 16 --update

The judge is a server on this machine, in a process of its own; the client is the one of a run. Every repetition asks about new answers, and nothing
comes from the cache. `--update` also times the parts of an update of the quickstart: what overlapping them could save.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from rag_graph.config import JudgeConfig
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph
from rag_graph.judges import make_judges
from rag_graph.records import Episode, Example

EPISODES = 64
SECONDS = 0.5
GRAPH = AuxiliaryGraph.build({"reply": {"metrics": {"judge": 1.0}, "args": {"question": "Does it help?"}}})


class Judge(BaseHTTPRequestHandler):
    """Waits, and gives a mark."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(SECONDS)
        choice = {"index": 0, "message": {"role": "assistant", "content": '{"mark": 4}'}, "finish_reason": "stop"}
        body = json.dumps(
            {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(told: Connection) -> None:
    server = Server(("127.0.0.1", 0), Judge)
    told.send(server.server_address[1])
    server.serve_forever()


def measure(url: str, concurrency: int, repetition: int) -> tuple[float, float]:
    """Seconds of one scoring of all episodes, through the scorer of a run; and the processor seconds of this process, which is the client."""
    judges = make_judges(
        {"slow": JudgeConfig(model=f"m{repetition}", base_url=url, concurrency=concurrency, retries=0)}
    )
    scorer = NodeScorer(GRAPH, judges=judges)
    episodes = [
        Episode(
            str(n), Example(str(n), "reply", {"input": f"question {n}"}), f"question {n} ?", f"answer {concurrency} {n}"
        )
        for n in range(EPISODES)
    ]
    started, busy = time.perf_counter(), time.process_time()
    found = scorer.score_all(episodes)
    seconds = time.perf_counter() - started, time.process_time() - busy
    assert [dict(one) for one in found] == [{"reply": 0.75}] * EPISODES
    assert not any(one.asked["reply"].cached for one in found)
    return seconds


def update_seconds() -> dict[str, float]:
    """Median seconds of the stages of three updates of the quickstart, 64 episodes each."""
    from rag_graph import train
    from rag_graph.runs.progress import StageProgress

    config = Path(__file__).parent.parent / "experiments/quickstart/config.yaml"
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            "sft.steps=20",
            "ppo.updates=4",
            "ppo.batch_size=64",
            "evaluation.without_retrieval=false",
            "data.test=8",
        ]
        run = train(config, [*settings, f"output_dir={folder}/run"], progress=StageProgress(quiet=True))
        records = run.records()[1:]
        names = [name for name in records[0] if name.startswith("seconds/")]
        return {name: statistics.median(record[name] for record in records) for name in names}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--update", action="store_true", help="also time the parts of an update")
    chosen = parser.parse_args(arguments)
    receive, send = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(send,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{receive.recv()}/v1"
    seconds: dict[int, list[tuple[float, float]]] = {concurrency: [] for concurrency in chosen.concurrency}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["RAG_GRAPH_CACHE"] = cache
        measure(url, EPISODES, -1)  # the client is imported now
        for repetition in range(chosen.repetitions):
            for concurrency, mine in seconds.items():
                mine.append(measure(url, concurrency, repetition))
    server.terminate()
    for concurrency, mine in seconds.items():
        least = -(-EPISODES // concurrency) * SECONDS
        shown = ", ".join(f"{one:.2f}" for one, _ in mine)
        median, busy = (statistics.median(column) for column in zip(*mine, strict=True))
        print(
            f"concurrency {concurrency}: median {median:.2f} s of {shown} (no less than {least:.1f} s); processor {busy:.2f} s"
        )
    if chosen.update:
        for name, value in update_seconds().items():
            print(f"{name}: {value:.2f} s")


if __name__ == "__main__":
    main()
