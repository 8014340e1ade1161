"""Runs as processes of their own, on this machine or through Ray.

A run is the command `rag-graph train` in a folder of its own, so that what a sweep does can be done by hand, and a run that fails does not
stop the others.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rag_graph.config import read_config
from rag_graph.errors import DataError, TrainingError, need
from rag_graph.runs.folder import is_locked, state_of


def log_of(run: Path) -> Path:
    """Where the process of a run writes what it would show on a terminal."""
    return run.with_suffix(".log")


def command_of(run: Path) -> list[str]:
    """The command that starts a run from the config beside its folder, or resumes it."""
    train = [sys.executable, "-P", "-m", "rag_graph", "train"]  # -P: nothing is imported from the working directory
    if (run / "manifest.json").is_file():
        trusted = read_config(
            run.with_suffix(".yaml")
        ).model.trust_remote_code  # the sweep's own config, beside the folder
        return [*train, "--resume", str(run), *(["--trust-remote-code"] if trusted else [])]
    return [*train, str(run.with_suffix(".yaml"))]


def shown_state(run: Path) -> str:
    """As `state_of`; "damaged" where its status cannot be read."""
    try:
        return state_of(run)
    except DataError:
        return "damaged"


def is_open(run: Path) -> bool:
    """True where there is something left to do and no process works on it."""
    return shown_state(run) not in ("finished", "running") and not is_locked(run)


def run_here(runs: Sequence[Path], parallel: int) -> Iterator[tuple[Path, int]]:
    """Run up to `parallel` processes at once; yields each folder with the exit code, as they end. Ctrl-C reaches the processes, and each
    writes down where it stopped."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // parallel))
    going: dict[Path, subprocess.Popen[bytes]] = {}
    stopping = threading.Event()

    def one(run: Path) -> int:
        if stopping.is_set():
            return -signal.SIGINT
        if not is_open(run):  # another sweep was quicker
            return 0
        with log_of(run).open("ab") as log:
            process = subprocess.Popen(
                command_of(run), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": threads}, start_new_session=True
            )  # fmt: skip
            going[run] = process
            return process.wait()

    with ThreadPoolExecutor(parallel) as pool:
        waiting = {pool.submit(one, run): run for run in runs}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:
            stopping.set()
            for process in going.values():
                if process.poll() is None:
                    _stop(process)
            raise


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does; on Windows, where another process cannot send it, the run ends as after a crash, and can be resumed too."""
    if os.name == "nt":
        process.terminate()
    else:
        process.send_signal(signal.SIGINT)


def run_on_ray(runs: Sequence[Path], address: str | None, cpus: float, gpus: float) -> Iterator[tuple[Path, int]]:
    """Run each as one Ray task; yields each folder with the exit code, as they end. The folder must be one that every machine of the cluster sees, and the package installed on each."""
    need("executor: ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:  # read when ray is imported: one that is started here listens on the loopback address only
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        _check_address(address)
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise TrainingError(f"ray_address {address}: no Ray cluster answers there: {error}") from None
    try:
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_in_task)
        where = os.getcwd()
        waiting = {task.remote(command_of(run), str(log_of(run)), where, max(1, int(cpus))): run for run in runs}
        try:
            while waiting:
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                run = waiting.pop(done)
                try:
                    code = int(ray.get(done))
                except ray.exceptions.RayError as error:
                    with log_of(run).open("a", encoding="utf-8") as log:
                        log.write(f"{error}\n")
                    code = 1
                yield run, code
        except BaseException:
            for task_id in waiting:
                ray.cancel(task_id)
            raise
    finally:
        if started_here:
            ray.shutdown()


def _check_address(address: str | None) -> None:
    """Ray tries for minutes to reach a cluster that is not there; a connection tells at once.

    Raises:
        TrainingError: nobody answers at host:port.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise TrainingError(f"ray_address {address}: no Ray cluster answers there: {error}") from None


def _in_task(command: list[str], log: str, where: str, threads: int) -> int:
    """Runs in a Ray worker; an interrupt reaches the run as Ctrl-C."""
    with open(log, "ab") as handle:
        process = subprocess.Popen(
            command, stdout=handle, stderr=handle, stdin=subprocess.DEVNULL, cwd=where, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
        )  # fmt: skip
        try:
            return process.wait()
        except BaseException:
            _stop(process)
            process.wait(60)
            raise
