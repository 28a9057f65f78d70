"""A live replica that is told other settings, as Ray tells it while requests run."""

import asyncio
from typing import Any

from serving.config import ServingLimits
from serving.replica import Replica
from tests.unit.serving.build import EmulatedGpu, answered, infer, model_config, play, until

LONG_WORK = {"base_us": 300_000}


def test_another_objective_counts_from_now_on_and_moves_the_edge(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> list[dict[str, float]]:
        seen = []
        for objective_p95_ms in (200, 0.001, 3000):
            await replica.reconfigure(model_config(objective_p95_ms=objective_p95_ms))
            assert (await replica(infer("one"))).status_code == 200
            seen.append(gpu.scrape())
        return seen

    seen = play(gpu, script)
    within = "vgpu_serve_requests_within_objective_total"
    assert [series[f'{within}{{model="echo"}}'] for series in seen] == [1, 1, 2]
    bucket = "vgpu_serve_request_duration_seconds_bucket"
    edges = [f'{bucket}{{le="{edge}",model="echo"}}' for edge in ("0.2", "1e-06", "3.0")]
    assert [series[edge] for series, edge in zip(seen, edges, strict=True)] == [1, 0, 1]
    assert edges[1] not in seen[2]
    assert [series['vgpu_serve_requests_total{code="200",model="echo"}'] for series in seen] == [1, 2, 3]


def test_the_same_objective_leaves_the_histograms_alone(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> float:
        await replica(infer("one"))
        await replica.reconfigure(model_config(serving={"max_queue": 7}))
        return gpu.scraped("request_duration_seconds_count")

    assert play(gpu, script) == 1


def test_limits_change_under_requests_that_run(gpu: EmulatedGpu) -> None:
    """Two rows wait behind a long batch, and the new limits take neither of them away."""

    async def script(replica: Replica) -> Any:
        running = [asyncio.ensure_future(replica(infer("one")))]
        await until(lambda: gpu.slot()["busy_ns"] > 0)
        running += [asyncio.ensure_future(replica(infer(text))) for text in ("two", "three")]
        await until(lambda: gpu.scraped("queued_rows") == 2)
        limits = {"max_queue": 1, "max_batch_size": 1, "max_wait_ms": 0, "max_body_bytes": 1024}
        await replica.reconfigure(model_config(parameters=LONG_WORK, serving=limits))
        refused = answered(await replica(infer("four")))
        too_long = answered(await replica(infer("x" * 1024)))
        return refused, too_long, [answered(await one)[0] for one in running], gpu.scraped("batch_size_count")

    refused, too_long, statuses, batches = play(gpu, script, parameters=LONG_WORK)
    assert (refused[0], refused[1]["reason"]) == (429, "queue_full")
    assert (too_long[0], too_long[1]["reason"]) == (413, "too_large")
    assert statuses == [200, 200, 200]
    assert batches == 3  # one row each: two and three would have shared one


def test_a_deadline_counts_for_requests_that_come_after_it(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> list[int]:
        running = asyncio.ensure_future(replica(infer("one")))
        await until(lambda: gpu.slot()["busy_ns"] > 0)
        await replica.reconfigure(model_config(parameters=LONG_WORK, serving={"max_deadline_ms": 1}))
        late = answered(await replica(infer("two")))[0]
        return [answered(await running)[0], late]

    assert play(gpu, script, parameters=LONG_WORK) == [200, 504]


def test_a_new_replica_takes_in_what_it_was_made_of(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> Any:
        before = replica._config
        await replica.reconfigure(model_config())
        return before == replica._config, before.serving == ServingLimits.model_validate({})

    assert play(gpu, script) == (True, True)
