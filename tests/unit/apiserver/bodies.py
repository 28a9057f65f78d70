"""A good body of every kind, without its metadata, to apply or to spoil."""

from typing import Any

from autoscaler.embedded.apiserver import resources
from autoscaler.embedded.apiserver.resources import Resource

_SELECTOR = {"matchLabels": {"x": "y"}, "matchExpressions": [{"key": "x", "operator": "In", "values": ["y"]}]}
_CONTAINER = {"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1", "memory": 1}, "requests": {"cpu": "1"}}}
_POD_SPEC = {"containers": [_CONTAINER], "nodeName": "n", "readinessGates": [{"conditionType": "Slot"}]}
_SINCE = "2027-01-15T08:00:00Z"
_CONDITIONS = [{"type": "Ready", "status": "True", "reason": "Up", "lastTransitionTime": _SINCE}]
_STATE = {"waiting": {"reason": "Slow"}, "terminated": {"reason": "Error", "exitCode": 1}}
_OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": True}
ABOUT = {
    "name": "x",
    "labels": {"x": "y", "node-role.kubernetes.io/gpu": ""},
    "annotations": {"controller.kubernetes.io/pod-deletion-cost": "1"},
    "finalizers": ["example.com/hold"],
    "ownerReferences": [_OWNER],
}
_TEMPLATE = {"metadata": {"labels": {"x": "y"}, "annotations": {"a": "b"}}, "spec": _POD_SPEC}
_SUBJECT = {"kind": "ServiceAccount", "name": "x", "namespace": "default"}
BODIES: dict[Resource, Any] = {
    resources.NAMESPACES: {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}},
    resources.NODES: {
        "spec": {"unschedulable": True},
        "status": {
            "conditions": _CONDITIONS,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1"},
            "capacity": {"nvidia.com/gpu": "2"},
        },
    },
    resources.PODS: {
        "spec": _POD_SPEC,
        "status": {
            "phase": "Running",
            "reason": "Up",
            "podIP": "127.0.0.1",
            "conditions": _CONDITIONS,
            "containerStatuses": [{"ready": True, "restartCount": 1, "state": _STATE}],
        },
    },
    resources.EVENTS: {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "source": {"component": "kubelet"},
        "lastTimestamp": _SINCE,
        "count": 1,
    },
    resources.CONFIG_MAPS: {"data": {"x": "y"}},
    resources.DEPLOYMENTS: {
        "spec": {
            "replicas": 2,
            "selector": _SELECTOR,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1}},
            "template": _TEMPLATE,
        },
        "status": {
            "replicas": 1,
            "conditions": [{"type": "Available", "status": "False", "lastTransitionTime": _SINCE}],
        },
    },
    resources.LEASES: {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 3, "renewTime": _SINCE}},
    resources.DISRUPTION_BUDGETS: {
        "spec": {"selector": _SELECTOR, "minAvailable": "50%"},
        "status": {"disruptionsAllowed": 1, "observedGeneration": 1, "disruptedPods": {"p": _SINCE}},
    },
    resources.SECRETS: {"type": "Opaque", "data": {"x": "eA=="}, "stringData": {"y": "y"}},
    resources.SERVICES: {
        "spec": {
            "type": "ClusterIP",
            "selector": {"x": "y"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8000}],
        },
        "status": {"loadBalancer": {}},
    },
    resources.SERVICE_ACCOUNTS: {"automountServiceAccountToken": False, "imagePullSecrets": [{"name": "x"}]},
    resources.QUOTAS: {"spec": {"hard": {"pods": "5"}}, "status": {"used": {"pods": "1"}}},
    resources.DAEMON_SETS: {
        "spec": {"selector": _SELECTOR, "template": _TEMPLATE},
        "status": {"desiredNumberScheduled": 1, "conditions": _CONDITIONS},
    },
    resources.JOBS: {
        "spec": {
            "completions": 1,
            "template": {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [_CONTAINER]}},
        },
        "status": {"succeeded": 1, "conditions": _CONDITIONS},
    },
    resources.PRIORITY_CLASSES: {"value": 1000, "description": "x", "preemptionPolicy": "Never"},
    resources.NETWORK_POLICIES: {
        "spec": {
            "podSelector": _SELECTOR,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": _SELECTOR}], "ports": [{"port": 80}]}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
        }
    },
    resources.INGRESSES: {
        "spec": {
            "rules": [{"host": "x", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"x": "y"}}]}}]
        },
        "status": {"loadBalancer": {}},
    },
    resources.MUTATING_WEBHOOKS: {
        "webhooks": [
            {
                "name": "x.example.com",
                "clientConfig": {"url": "https://x"},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ]
    },
    resources.ROLES: {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["x"]}]},
    resources.CLUSTER_ROLES: {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]},
    resources.ROLE_BINDINGS: {"roleRef": {"kind": "Role", "name": "x"}, "subjects": [_SUBJECT]},
    resources.CLUSTER_ROLE_BINDINGS: {"roleRef": {"kind": "ClusterRole", "name": "x"}, "subjects": [_SUBJECT]},
    resources.RAY_CLUSTERS: {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "spec": {
            "headGroupSpec": {"template": _TEMPLATE},
            "workerGroupSpecs": [
                {
                    "groupName": "w",
                    "replicas": 2,
                    "scaleStrategy": {"workersToDelete": ["p"]},
                    "template": _TEMPLATE,
                }
            ],
        },
        "status": {"state": "ready"},
    },
    resources.HTTP_ROUTES: {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "spec": {"parentRefs": [{"name": "x"}], "hostnames": ["x"], "rules": [{"backendRefs": [{"name": "x"}]}]},
        "status": {"parents": []},
    },
    resources.SERVICE_MONITORS: {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "spec": {"selector": _SELECTOR, "endpoints": [{"port": "x"}]},
    },
    resources.POD_MONITORS: {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "spec": {"selector": _SELECTOR, "podMetricsEndpoints": [{"port": "x"}]},
    },
    resources.PROMETHEUS_RULES: {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "spec": {"groups": [{"name": "x", "rules": [{"alert": "X", "expr": "up == 0"}]}]},
    },
}
