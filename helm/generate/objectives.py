"""What is promised to clients, and when a broken promise calls somebody: objectives, budgets, burn rates, windows.

Burn rates and windows are the starting values of the Site Reliability Workbook (O'Reilly 2018, chapter 5, table 5-8)
for an error budget of 30 days: a burn rate of 1 spends exactly the budget in that time. Recorded names have the form
level:metric:operation; the level is (namespace, model) everywhere.
"""

from dataclasses import dataclass

WINDOW_S = {"5m": 300, "30m": 1800, "1h": 3600, "6h": 21600, "3d": 259200}
"""Every window that is recorded, by its name in PromQL."""
BUDGET_WINDOW = "30d"
# Rates over longer windows are means of the recorded 5 m rates: to read every sample that every pod of three days left
# behind, at each evaluation, would cost Prometheus 800 times as much.
LONGEST_RAW_S = WINDOW_S["6h"]
LEAST_REQUESTS = 50
"""In the short window. With fewer, one slow answer is 2 % of all and says nothing about the service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A promise about each model's requests: at least `target_ratio` of them are good."""

    name: str
    target_ratio: float
    promise: str

    @property
    def budget_ratio(self) -> float:
        """The part of the requests that may be bad, 0 to 1."""
        return round(1 - self.target_ratio, 6)

    def total(self, window: str) -> str:
        """The recorded rate of the requests it is about, per second."""
        return f"namespace_model:vgpu_serve_{self.name}_requests:rate{window}"

    def failures(self, window: str) -> str:
        """The recorded rate of the bad ones, per second."""
        return f"namespace_model:vgpu_serve_{self.name}_failures:rate{window}"

    def failure_ratio(self, window: str) -> str:
        """The recorded part of the requests that was bad, 0 to 1; no series without requests."""
        return f"namespace_model:vgpu_serve_{self.name}_failures:ratio_rate{window}"

    @property
    def budget_left(self) -> str:
        """The recorded part of 30 days' budget that is left; below 0 when it is overspent."""
        return f"namespace_model:vgpu_serve_{self.name}_budget_left:ratio_rate{BUDGET_WINDOW}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """A call: the budget burns `rate` times too fast, over the long window and still over the short one."""

    severity: str
    rate: float
    long: str
    short: str

    @property
    def least_per_s(self) -> float:
        """The rate of requests below which it stays silent."""
        return LEAST_REQUESTS / WINDOW_S[self.short]

    def budget_spent_ratio(self) -> float:
        """The part of 30 days' budget that is gone when the long window has passed."""
        return self.rate * WINDOW_S[self.long] / (30 * 86400)


# The same 95 % that make objective_p95_ms a p95.
LATENCY = Objective(
    name="latency", target_ratio=0.95, promise="95 % of the good answers come within the model's objective_p95_ms"
)
# One in 200. A replica that dies costs a few requests a time, and the autoscaler runs few replicas on purpose: three
# nines would spend a month's budget on one lost card of a model with two replicas.
AVAILABILITY = Objective(
    name="availability", target_ratio=0.995, promise="99.5 % of the requests are answered, not refused for lack of room"
)
OBJECTIVES = (LATENCY, AVAILABILITY)

BURNS = (
    Burn(severity="page", rate=14.4, long="1h", short="5m"),
    Burn(severity="page", rate=6, long="6h", short="30m"),
    Burn(severity="ticket", rate=1, long="3d", short="6h"),
)
