"""Ray's HAProxy on its metrics port: reads how many requests found no replica, tells when one is expected.

`serving.haproxy` sends such requests to a backend of their own, `asleep-MODEL`, so HAProxy's own counter of that
backend's requests is the number wanted. Each replica that comes or goes makes Ray start HAProxy anew, and the counters
with it: the start time of the process says which one counted.
"""

import math
import re
from collections.abc import Mapping, Sequence

import httpx

from autoscaler.core.observation import IngressSample
from autoscaler.ports import Unavailable

METRICS = "/metrics?scope=global&scope=backend"
STARTS = "/starts"
# Lines and not families: a page of forty backends is 0.2 MB, and two kinds of line of it matter.
UNANSWERED = re.compile(r'^haproxy_backend_http_requests_total\{proxy="asleep-([^"]+)"\} (\d+)$', re.MULTILINE)
PROCESS = re.compile(r"^haproxy_process_start_time_seconds (\S+)$", re.MULTILINE)


class HaproxyIngress:
    """One HAProxy, the only one that clients connect to."""

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        # No proxy from the environment: the ingress is next door. No kept connection: a process that was replaced
        # would go on answering on it.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False, limits=limits)

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def read(self, models: Sequence[str], now_s: float) -> tuple[IngressSample, ...]:
        """What was counted of each model that the ingress knows. Raises `Unavailable`."""
        text = self._ask("GET", METRICS).text
        process = PROCESS.search(text)
        if process is None or not text.endswith("\n"):
            raise Unavailable("ingress /metrics", "the answer is not HAProxy's; give its metrics port as --ingress-url")
        counts = {model: int(count) for model, count in UNANSWERED.findall(text)}
        return tuple(
            IngressSample(model=model, at_s=now_s, unanswered=counts[model], process=process[1])
            for model in models
            if model in counts
        )

    def announce(self, starts_s: Mapping[str, float]) -> None:
        """Have requests that find no replica told to come back when one is expected. Raises `Unavailable`."""
        self._ask("PUT", STARTS, {model: max(1, math.ceil(start_s)) for model, start_s in starts_s.items()})

    def _ask(self, method: str, path: str, parameters: Mapping[str, int] | None = None) -> httpx.Response:
        try:
            answer = self._client.request(method, path, params=parameters)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"ingress {path.partition('?')[0]}", f"{type(error).__name__}: {error}") from error
        if not answer.is_success:
            why = f"answered {answer.status_code}; is it HAProxy's metrics port, configured by serving.haproxy?"
            raise Unavailable(f"ingress {path.partition('?')[0]}", why)
        return answer
