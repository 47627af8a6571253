"""What a cluster costs: one job in one process, and spread over processes of a Ray cluster.

    python -m benchmarks.cluster [--quick] [--json FILE]      (needs the bench extra)

DeepFM over 26 fields of ids and 13 numbers, dim 16, MLP 256-128, AdaGrad, batches of 4,096, the same
job file each time: in one process, on one worker and one shard, on two and two. The cluster is three
Ray nodes on this machine, so all processes share its cores: on two cores a worker and a shard have one
each, two and two have half of one. Turns alternate, and rates are taken over the middle of each.
Sealing and saving are on everywhere, once a second. Then: where the time goes, by what a worker waits
for and by the processor time of each kind of process; and from these costs, how many machines
1 M examples/s and 10 TB of rows would take, and what is full first.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Before Ray is imported: everything stays on loopback.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.harness import finish, median, parse_options, say, seconds
from benchmarks.sizing import Costs, Machine, needs, saturations
from cluster.fleet.launch import running
from cluster.fleet.shipping import JobText
from cluster.job import load_job, resolve
from cluster.job.resolve_cluster import Spread
from cluster.local import GoOnFrom, LocalRun
from cluster.warmup import warm_up
from model.lookup import LookupBuilder
from ps.clock import SystemClock
from ps.kernels.layout import row_layout
from ps.store.catalog import Catalog
from ps.store.compactor import compact
from ps.store.opening import open_location
from worker.batching import batches
from worker.preparation import prepare
from worker.sources.synthetic import WideStreamSpec, WideSyntheticClicks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.harness import Figures
    from cluster.plan import Plan
    from cluster.progress import RunProgress

PARTITIONS = 2
BATCH = 4_096
# Rates are taken between these shares of the stream: beyond start-up, before the end.
FROM_SHARE, TO_SHARE = 0.2, 0.95
EXAMPLES_PER_S, MODEL_BYTES = 1e6, 10e12
# An index line of 64 bytes holds ten entries and is split at a load of 0.86 (ps.kernels.index).
INDEX_BYTES_PER_ROW = 64 / (10 * 0.86)
# What Ray calls the processes of the job's actors.
KINDS = {"Worker": "WorkingWorker", "Shard": "SeatedShard", "Coordinator": "CoordinatorActor"}

JOB = """\
job: bench-cluster
source: {{format: arrow, path: "{folder}/log-*.arrow"}}
event_time: {{column: event_ts_us, unit: us}}
label: {{column: click}}
features:
  - {{name: "I{{1..13}}", kind: numeric, transform: log1p}}
  - {{name: "C{{1..26}}", kind: categorical}}
model: {{kind: deepfm, dim: 16, hidden: [256, 128]}}
tables:
  default:
    optimizer: {{kind: adagrad, learning_rate: 0.05}}
    initializer: {{kind: normal, scale: 0.01}}
dense:
  optimizer: {{kind: adam, learning_rate: 0.001}}
train: {{batch_size: {batch}, metrics: {{window: null}}}}
serve: {{sync_interval: 1s}}
store: {{url: "{folder}/store", commit_every: 1s}}
cluster: {{replicas: 0, standbys: 0, start_timeout: 300s}}
"""


@dataclass(slots=True)
class Usage:
    """Processor seconds by kind of process, and bytes over loopback, since the processes began."""

    cpu_s: dict[str, float]
    wire_bytes: int


@dataclass(slots=True)
class Watch:
    """Takes the rate between two shares of the stream, and what was used meanwhile."""

    records: int
    begun: tuple[float, int, Usage] | None = None
    ended: tuple[float, int, Usage] | None = None
    stages: dict[str, float] = field(default_factory=dict)

    def see(self, progress: RunProgress) -> None:
        """A progress callback."""
        now_s, examples = time.perf_counter(), progress.examples
        if self.begun is None and examples >= FROM_SHARE * self.records:
            self.begun = (now_s, examples, usage())
        elif self.begun is not None and examples <= TO_SHARE * self.records:
            self.ended = (now_s, examples, usage())

    @property
    def examples_per_s(self) -> float:
        begun, ended = self._ends()
        return (ended[1] - begun[1]) / (ended[0] - begun[0])

    def per_example(self) -> tuple[dict[str, float], float]:
        """Processor seconds by kind, and bytes over loopback."""
        begun, ended = self._ends()
        examples = ended[1] - begun[1]
        before, after = begun[2], ended[2]
        cpu_s = {k: (after.cpu_s[k] - before.cpu_s[k]) / examples for k in after.cpu_s}
        return cpu_s, (after.wire_bytes - before.wire_bytes) / examples

    def _ends(self) -> tuple[tuple[float, int, Usage], tuple[float, int, Usage]]:
        if self.begun is None or self.ended is None:
            raise RuntimeError("the stream is too short for a rate; make it longer")
        return self.begun, self.ended


def usage() -> Usage:
    """Of all processes of the job there are now."""
    cpu_s = dict.fromkeys((*KINDS, "Ray"), 0.0)
    for process in psutil.process_iter(["name", "cmdline", "cpu_times"]):
        title = " ".join(process.info["cmdline"] or [process.info["name"] or ""])
        times = process.info["cpu_times"]
        if times is None:
            continue
        kind = next((k for k, name in KINDS.items() if title.startswith(f"ray::{name}")), None)
        if kind is None and any(name in title for name in ("raylet", "gcs_server", "/ray/")):
            kind = "Ray"
        if kind is not None:
            cpu_s[kind] += times.user + times.system
    return Usage(cpu_s, psutil.net_io_counters(pernic=True)["lo"].bytes_sent)


def write_log(folder: Path, records: int) -> None:
    """The stream, as one Arrow file for each partition."""
    for number in range(PARTITIONS):
        source = WideSyntheticClicks(WideStreamSpec(records=records // PARTITIONS, seed=number + 1))
        writer: pa.RecordBatchFileWriter | None = None
        for chunk in source.read(source.partitions()[0], 0):
            if writer is None:
                writer = pa.ipc.new_file(str(folder / f"log-{number}.arrow"), chunk.columns.schema)
            writer.write_batch(chunk.columns)
        if writer is not None:
            writer.close()


def in_one_process(job_file: Path, store: Path, records: int) -> float:
    """Examples/s of the job in this process."""
    plan = resolve(load_job(job_file), store=str(store))
    warm_up(plan)
    watch = Watch(records)
    with LocalRun(plan, clock=SystemClock(), serve=False, on_progress=watch.see) as run:
        run.run()
    return watch.examples_per_s


def on_the_cluster(
    job_file: Path, store: Path, address: str, records: int, workers: int, shards: int
) -> Watch:
    """The job on so many workers and shards."""
    spread = Spread(shards=shards, workers=workers, standbys=0, replicas=0)
    job = JobText.read(job_file, spread=spread, store=str(store))
    watch = Watch(records)
    with running(job, address, wanted=GoOnFrom(), say=_quiet, step=_quiet) as run:
        glance = run.follow(threading.Event(), watch.see)
        if glance is not None:
            watch.stages = dict(glance.stages)
        run.finish()
    return watch


@contextmanager
def three_nodes() -> Iterator[str]:
    """A Ray cluster on this machine; its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 8, "include_dashboard": False, "node_ip_address": "127.0.0.1"},
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=8)
        yield cluster.address
    finally:
        cluster.shutdown()


def rows_per_example(plan: Plan) -> float:
    """Distinct rows of a batch, by example."""
    partition = plan.source.partitions()[0]
    builder = LookupBuilder(plan.examples.features.layout.tables)
    rows = examples = 0
    chunks = batches(plan.source, partition, 0, BATCH, stop=8 * BATCH)
    for prepared in prepare(chunks, plan.examples, None, SystemClock()):
        rows += sum(len(lookup.fids) for lookup in builder.build(prepared.batch).values())
        examples += prepared.batch.size
    return rows / examples


def compact_speed(store: Path) -> float:
    """Bytes of a base that are written anew in a second."""
    location = open_location(str(store))
    catalog = Catalog(location)
    newest = catalog.survey().newest
    if newest is None:
        raise RuntimeError("the run before this has saved nothing")
    commit = catalog.read(newest.at)
    written: list[int] = []
    compact_s = seconds(
        lambda: written.extend(
            compact(location, chain, memory_bytes=1 << 30) for chain in commit.shards
        )
    )
    return sum(written) / compact_s


def tell_stages(name: str, watch: Watch) -> None:
    """What a worker waits for, and what each kind of process takes of the processor."""
    cpu_s, wire_bytes = watch.per_example()
    table = Table(title=f"{name}: where the time goes", title_justify="left")
    for heading in ("", "share of a worker's time"):
        table.add_column(heading)
    total = sum(watch.stages.values()) or 1.0
    for stage, spent_s in watch.stages.items():
        table.add_row(stage, f"{spent_s / total:.0%}")
    console = Console()
    console.print(table)
    table = Table(title="processor time of an example", title_justify="left")
    for heading in ("processes", "microseconds"):
        table.add_column(heading)
    for kind, spent_s in cpu_s.items():
        table.add_row(kind, f"{1e6 * spent_s:.2f}")
    table.add_row("bytes over loopback", f"{wire_bytes:,.0f}")
    console.print(table)


def tell_sizes(costs: Costs) -> dict[str, int]:
    """The table of machines; how many by role."""
    machine = Machine()
    console = Console()
    table = Table(
        title=f"{EXAMPLES_PER_S:,.0f} examples/s and {MODEL_BYTES / 1e12:g} TB of rows, on machines of "
        f"{machine.cores} cores, {machine.memory_bytes / 1e9:g} GB, "
        f"{8 * machine.network_bytes_per_s / 1e9:g} Gbit/s",
        title_justify="left",
    )
    for heading in ("role", "limited by", "machines", "load, and what a machine takes of it"):
        table.add_column(heading)
    by_role: dict[str, int] = {}
    for need in needs(costs, machine, examples_per_s=EXAMPLES_PER_S, model_bytes=MODEL_BYTES):
        table.add_row(need.role, need.limit, f"{need.machines:,}", need.figure)
        role = need.role.split()[0]
        by_role[role] = max(by_role.get(role, 0), need.machines)
    console.print(table)
    say("what cannot be spread over machines, most overloaded first:")
    for what, times in saturations(
        costs, machine, examples_per_s=EXAMPLES_PER_S, model_bytes=MODEL_BYTES
    ).items():
        say(f"  {times:8.2f} times what there is: {what}")
    return by_role


def measure(folder: Path, records: int, rounds: int) -> Figures:
    """All of it."""
    job_file = folder / "job.yaml"
    job_file.write_text(JOB.format(folder=folder, batch=BATCH))
    say(f"writing {records:,} records")
    write_log(folder, records)
    local: list[float] = []
    ones: list[Watch] = []
    twos: list[Watch] = []
    with three_nodes() as address:
        for number in range(rounds):
            stores = [folder / f"store-{kind}-{number}" for kind in ("local", "1x1", "2x2")]
            local.append(in_one_process(job_file, stores[0], records))
            ones.append(on_the_cluster(job_file, stores[1], address, records, 1, 1))
            twos.append(on_the_cluster(job_file, stores[2], address, records, 2, 2))
            say(
                f"round {number + 1}: {local[-1]:,.0f} examples/s in one process, "
                f"{ones[-1].examples_per_s:,.0f} on 1x1, {twos[-1].examples_per_s:,.0f} on 2x2"
            )
    plan = resolve(load_job(job_file), store=str(folder / "store-1x1-0"))
    tell_stages("1 worker, 1 shard", ones[-1])
    tell_stages("2 workers, 2 shards", twos[-1])
    cpu_s, wire_bytes = ones[-1].per_example()
    spec = plan.shards[0].tables[0]
    record = row_layout(spec.width, spec.state_width).stride * 4
    costs = Costs(
        worker_cpu_s=cpu_s["Worker"],
        shard_cpu_s=cpu_s["Shard"],
        wire_bytes=wire_bytes,
        rows=rows_per_example(plan),
        row_bytes=record + INDEX_BYTES_PER_ROW,
        replica_row_bytes=record - 4 * spec.state_width + INDEX_BYTES_PER_ROW,
        block_row_bytes=8 + 4 + 4 * (spec.width + spec.state_width),
        compact_bytes_per_s=compact_speed(folder / "store-1x1-0"),
    )
    by_role = tell_sizes(costs)
    base = median(local)
    return {
        "local_examples_per_s": base,
        "cluster_1x1_examples_per_s": median([watch.examples_per_s for watch in ones]),
        "cluster_2x2_examples_per_s": median([watch.examples_per_s for watch in twos]),
        "cluster_1x1_vs_local": median(
            [w.examples_per_s / one for w, one in zip(ones, local, strict=True)]
        ),
        "cluster_2x2_vs_local": median(
            [w.examples_per_s / one for w, one in zip(twos, local, strict=True)]
        ),
        "worker_cpu_us_per_example": 1e6 * costs.worker_cpu_s,
        "shard_cpu_us_per_example": 1e6 * costs.shard_cpu_s,
        "wire_bytes_per_example": costs.wire_bytes,
        "rows_per_example": costs.rows,
        **{f"machines_{role}": float(machines) for role, machines in by_role.items()},
        **_stage_figures("1x1", ones[-1].stages),
    }


def _stage_figures(name: str, stages: Mapping[str, float]) -> Figures:
    total = sum(stages.values()) or 1.0
    return {f"stage_{name}_{stage}": spent_s / total for stage, spent_s in stages.items()}


def _quiet(message: str) -> None:
    del message


def main() -> None:
    """Run it."""
    options = parse_options(__doc__ or "")
    records, rounds = (200_000, 1) if options.quick else (1_200_000, 3)
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as folder:
        figures = measure(Path(folder), records, rounds)
    finish(options, figures)


if __name__ == "__main__":
    main()
