"""What FGD's authors published of the same experiment: means of ten seeds, nodes in a fixed random order.

Source: hkust-adsl/kubernetes-scheduler-simulator, experiments/analysis/expected_results (Apache-2.0); Weng et al.,
"Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX ATC 2023,
figures 7, 9 and 11 to 14.
"""

from collections.abc import Mapping
from types import MappingProxyType

GPUS = 6212
"""Of the cluster they used; on another one the figures mean nothing."""
POLICIES = ("random", "dot-product", "clustering", "packing", "best-fit", "fgd")
"""Column by column of the figures below; their names are Random, DotProd, GpuClustering, GpuPacking, BestFit, FGD."""

ALLOCATED_AT_100_PERCENT: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "default": (86.30, 90.62, 91.65, 91.78, 92.86, 95.23),
        "cpu050": (89.02, 93.03, 93.52, 93.46, 93.56, 95.00),
        "cpu100": (87.44, 91.73, 92.42, 92.50, 93.26, 95.21),
        "cpu200": (83.03, 87.46, 89.67, 89.98, 92.15, 94.82),
        "cpu250": (80.00, 83.57, 87.75, 88.05, 91.21, 93.20),
        "gpushare40": (84.86, 89.30, 89.76, 89.77, 91.44, 93.96),
        "gpushare60": (82.81, 86.82, 86.90, 87.15, 89.06, 91.26),
        "gpushare80": (80.62, 84.14, 84.50, 84.65, 86.66, 89.08),
        "gpushare100": (78.90, 81.98, 82.22, 82.13, 84.62, 86.64),
        "gpuspec10": (86.26, 90.17, 91.96, 92.24, 93.10, 94.66),
        "gpuspec20": (85.90, 88.29, 89.11, 89.28, 88.46, 94.66),
        "gpuspec25": (85.42, 85.44, 86.41, 86.77, 85.67, 93.91),
        "gpuspec33": (83.87, 79.82, 81.09, 82.22, 80.40, 87.84),
        "multigpu20": (86.92, 91.85, 93.34, 93.50, 93.73, 95.53),
        "multigpu30": (86.63, 93.11, 94.55, 94.70, 94.57, 96.36),
        "multigpu40": (85.38, 94.04, 95.35, 95.59, 95.10, 96.91),
        "multigpu50": (81.28, 94.73, 95.69, 96.06, 95.62, 97.09),
    }
)
"""By list: allocated when demand is 100 % of all GPUs, percent of all GPUs."""

DEFAULT_ALLOCATED_PERCENT: Mapping[int, tuple[float, ...]] = MappingProxyType(
    {
        75: (73.93, 74.99, 74.99, 74.99, 74.99, 74.99),
        90: (85.02, 89.98, 89.98, 89.98, 89.99, 89.98),
        95: (85.72, 90.58, 91.61, 91.74, 92.82, 94.91),
        100: (86.30, 90.62, 91.65, 91.78, 92.86, 95.23),
        110: (86.88, 90.70, 91.73, 91.86, 92.94, 95.30),
        120: (87.28, 90.77, 91.80, 91.92, 93.00, 95.35),
        130: (87.47, 90.85, 91.88, 92.00, 93.08, 95.39),
    }
)
"""The default list, by demand in percent: allocated, percent of all GPUs."""

DEFAULT_FRAGMENTATION_PERCENT: Mapping[int, tuple[float, ...]] = MappingProxyType(
    {
        25: (14.74, 13.78, 14.28, 14.24, 12.94, 11.38),
        50: (15.10, 12.09, 12.11, 12.01, 10.81, 8.93),
        75: (16.01, 10.47, 9.85, 9.75, 8.74, 6.47),
        90: (14.48, 9.43, 8.45, 8.37, 7.41, 5.00),
        95: (13.95, 9.34, 8.26, 8.17, 7.09, 4.65),
        100: (13.49, 9.30, 8.21, 8.13, 7.05, 4.73),
        130: (12.43, 9.08, 8.00, 7.91, 6.85, 4.57),
    }
)
"""The default list, by demand in percent: fragmentation, percent of all GPUs."""


def allocated_ratio_at_100(list_name: str, gpus: int, policy: str) -> float | None:
    """The published figure of a policy for a list, None where there is none."""
    row = ALLOCATED_AT_100_PERCENT.get(list_name)
    if row is None or gpus != GPUS or policy not in POLICIES:
        return None
    return row[POLICIES.index(policy)] / 100


def list_name(file_name: str) -> str:
    """The list that a file holds by its name: default.csv.gz and openb_pod_list_default.csv are both default."""
    return file_name.removeprefix("openb_pod_list_").split(".")[0]
