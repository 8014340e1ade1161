"""The stages of a run, one after the other: data, warm-up, evaluation, PPO with the graph's rewards, evaluation again. What each leaves lies
in the run's folder; `train.py` starts them, and resumes them."""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from rag_graph.config import RunConfig
from rag_graph.data.load import RunData, load_data
from rag_graph.errors import TrainingError
from rag_graph.evaluation.costs import cost_metrics
from rag_graph.evaluation.evaluate import Evaluation, gain_between
from rag_graph.generation.adapters import merged
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.effects import warning_of_run
from rag_graph.graph.strengths import strengths_yaml
from rag_graph.ppo.callbacks import keep_until
from rag_graph.ppo.checkpoints import newest_checkpoint
from rag_graph.rag.pipeline import RagPipeline
from rag_graph.rag.room import room_warnings
from rag_graph.reward.held_out_alarms import compare_held_out
from rag_graph.runs.before import check_fits
from rag_graph.runs.folder import clear_away
from rag_graph.runs.manifest import check_data, describe_run
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.recording import RunRecorder, episode_record, evaluation_record
from rag_graph.runs.trackers import tracked
from rag_graph.runs.warm_up import warm_up
from rag_graph.runs.workbench import Workbench
from rag_graph.runtime import append_records, seed_everything, to_json, write_atomically, write_json

T = TypeVar("T")


def run_stages(
    config: RunConfig,
    graph: AuxiliaryGraph,
    folder: Path,
    progress: StageProgress,
    command: Sequence[str],
    own: OwnParts,
    resumed: Mapping[str, Any] | None = None,
    data: RunData | None = None,
) -> None:
    """Run from the data to the results; `resumed` is the manifest of the run that goes on, `data` what was loaded to check it.

    Raises:
        RagGraphError: bad data or model, or training that cannot go on.
    """
    seed_everything(config.seed)
    write_json(folder / "status.json", {"status": "running", "host": platform.node()})
    progress.say(
        f"graph {graph.name}: {len(graph.nodes)} nodes, {len(graph.spec.edges)} relations; run folder {folder}"
    )
    warning = warning_of_run(graph, config.reward)
    if warning and own.readout is None:
        progress.say(f"warning: {warning}")
    if data is None:
        data = load_data(graph, config.data, config.seed, reserved=config.reward.reserved)
    for note in data.notes:
        progress.say(note)
    if resumed is None:
        describe_run(folder, config, graph, data, own, command)
    else:
        check_data(folder, resumed, data, "Restore them, or start a new run.")
        again = [*resumed.get("resumed", []), time.strftime("%Y-%m-%dT%H:%M:%S%z")]
        write_json(folder / "manifest.json", {**resumed, "resumed": again})
    bench = Workbench(config, graph, own, data)
    for name, judge in bench.judges.items():
        if hasattr(judge, "on_progress"):
            judge.on_progress = partial(progress.waiting, f"judge {name}")
    size = sum(parameter.numel() for parameter in bench.model.parameters())
    progress.say(
        f"policy {config.model.source}: {size / 1e6:.2f}M parameters, vocabulary {len(bench.tokenizer)}; {len(data.train)} training and {len(data.test)} test examples"
    )
    Stages(bench, data, folder, progress, resumed).run()


class Stages:
    """The stages of one run, and the seconds that each took; `resumed` is the manifest of the run that goes on."""

    def __init__(
        self,
        bench: Workbench,
        data: RunData,
        folder: Path,
        progress: StageProgress,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        self.bench, self.data, self.folder, self.progress, self.resumed = bench, data, folder, progress, resumed
        self.seconds: dict[str, float] = {}

    def run(self) -> None:
        bench, config = self.bench, self.bench.config
        self._check()
        self._embed()
        self._timed("sft", lambda: warm_up(bench, self.data, self.folder, self.progress, self.resumed))
        before = self._timed("evaluation_before", lambda: self._evaluate("before"))
        seed_everything(config.seed)  # a resumed run has not drawn the numbers of the warm-up
        self._timed("ppo", self._ppo)
        after = self._timed("evaluation_after", lambda: self._evaluate("after"))
        without = None
        if config.evaluation.without_retrieval:
            name = "without_retrieval"
            without = self._timed(f"evaluation_{name}", lambda: self._evaluate(name, retrieval=False))
        for message in compare_held_out(
            bench.reward.learning.alarms, config.ppo.updates, before, after, bench.reward.learning.bands
        ):
            self.progress.say(f"  alarm after training: {message}")
        self._report_graph()
        write_json(self.folder / "results.json", self._results(before, after, without))
        write_json(self.folder / "status.json", {"status": "finished"})
        clear_away(self.folder)

    def _check(self) -> None:
        """Before the long stages: what is wrong with the graph's rewards or the data shows now."""
        bench, config = self.bench, self.bench.config
        _ = bench.reward
        check_fits(config, bench.graph, self.data)
        for message in room_warnings(bench.pipelines["train"], self.data.train):
            self.progress.say(f"warning: {message}")
        if bench.retriever is not None and config.retrieval.learn.warm_up != "none":
            bench.retriever.fit_for_warm_up(self.data.shown)

    def _embed(self) -> None:
        """A large pool takes minutes where its embeddings are not kept yet. This is a stage of its own, so that no other one seems to hang."""
        waiting = [(pool, task, count) for pool in self.bench.pools.values() for task, count in pool.embedded.items()]

        def embed() -> None:
            self.progress.stage("embedding of passages", sum(count for _, _, count in waiting))
            for pool, task, count in waiting:
                pool.embed(task)
                self.progress.advance(count)

        if waiting:
            self._timed("embedding", embed)

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = work()
        self.seconds[stage] = round(time.perf_counter() - started, 2)
        return result

    def _evaluate(self, name: str, retrieval: bool = True) -> Evaluation:
        shown = name.replace("_", " ")
        self.progress.stage(f"evaluation {shown}", len(self.data.test))
        evaluation = self.bench.evaluate(self.data.test, retrieval, on_batch=self.progress.advance)
        (self.folder / "evaluation").mkdir(exist_ok=True)
        record = {**evaluation_record(evaluation), "retrieval": evaluation.retrieval}
        write_json(self.folder / f"evaluation/{name}.json", record)
        rows = (to_json(episode_record(episode)) + "\n" for episode in evaluation.episodes)
        write_atomically(self.folder / f"evaluation/{name}.episodes.jsonl", "".join(rows))
        self.progress.say(f"  mean task score {shown}: {evaluation.mean_task_score}{_left_out(evaluation)}")
        for task, number in evaluation.missing.items():
            why = next(e.failed[task] for e in evaluation.episodes if e.example.task == task and task in e.failed)
            self.progress.say(f"  {number} answers of task {task} have no score. The first: {why}")
        return evaluation

    def _ppo(self) -> None:
        bench, folder, config = self.bench, self.folder, self.bench.config
        with warnings.catch_warnings(), tracked(config.report_to, folder):
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            recorder = RunRecorder(folder, self.progress, bench.reward)
            trainer = bench.trainer(folder, [recorder])
            kept = newest_checkpoint(folder, trainer.identity()) if self.resumed is not None else None
            if kept is None:
                keep_until(folder / "metrics.jsonl", 0)  # updates that no checkpoint has seen
                self._calibrate(trainer.pipeline)
            self.progress.stage("PPO", config.ppo.updates)
            trainer.train(resume_from_checkpoint=kept)
        merged(trainer.policy_model.eval())
        self._save()

    def _calibrate(self, pipeline: RagPipeline) -> None:
        """Answer some training examples first, so that the first update is normalised by what the policy really scores."""
        sample = self.data.train[: 4 * self.bench.config.ppo.batch_size]
        self.progress.stage("calibration of reward", len(sample))
        episodes = pipeline.answer(sample)
        self.progress.advance(len(sample))
        end = self.bench.tokenizer.eos_token_id
        self.bench.reward(
            [episode.prompt for episode in episodes],
            [episode.response for episode in episodes],
            [[] if episode.truncated else [end] for episode in episodes],
            example_id=[episode.example.id for episode in episodes],
            draft=[episode.draft for episode in episodes],
            evidence=[episode.evidence for episode in episodes],
            prompt_cut=[episode.prompt_cut for episode in episodes],
        )
        reward = self.bench.reward
        reward.learn()
        if costs := cost_metrics(reward.last_episodes):
            append_records(self.folder / "metrics.jsonl", [{"stage": "calibration", **costs}])

    def _save(self) -> None:
        """The policy as transformers saves it, adapter folded in, the reward's state, and encoders that learned."""
        bench, policy = self.bench, self.folder / "policy"
        try:
            bench.model.save_pretrained(policy)
            bench.tokenizer.save_pretrained(policy)
            bench.reward.save(self.folder)
            if bench.encoders is not None:
                bench.encoders.save(self.folder / "retriever")
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{policy}: the model cannot be saved: {error}. Free some space; everything measured so far stays in the run folder."
            ) from None

    def _report_graph(self) -> None:
        """What was learned about the graph: strengths beside the file's, proposals, alarms."""
        reward = self.bench.reward
        write_atomically(self.folder / "strengths.yaml", strengths_yaml(self.bench.graph, reward.learned_graph()))
        proposals = [proposal.as_dict() for proposal in reward.proposals()]
        write_json(self.folder / "graph_report.json", {"proposals": proposals, "alarms": reward.alarms})

    def _results(self, before: Evaluation, after: Evaluation, without: Evaluation | None) -> dict[str, Any]:
        lost = None
        if without is not None:
            lost = {**evaluation_record(without), "loss": gain_between(after, without)._asdict()}
        return {
            "before": evaluation_record(before),
            "after": evaluation_record(after),
            "gain": gain_between(before, after)._asdict(),
            "without_retrieval": lost,
            "seconds": self.seconds,
            "peak_memory_bytes": _peak_memory(),
        }


def _left_out(evaluation: Evaluation) -> str:
    """What prompts of an evaluation did not show; nothing where they showed all."""
    names = {
        "without_evidence": "without evidence",
        "cut_evidence": "with cut evidence",
        "cut_prompts": "with a cut prompt",
    }
    told = [f"{share:.0%} {names[name]}" for name, share in (evaluation.shown or {}).items() if share]
    return f"; of the episodes {', '.join(told)}" if told else ""


def _peak_memory() -> int | None:
    """Bytes of this process at its largest; None on Windows, which does not say."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
