"""Questions a client posts and that are answered at once, stored nowhere: who am I, what may I do, give me a token."""

from dataclasses import dataclass

from autoscaler.embedded.apiserver import errors, metadata, resources, selectors
from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.authorization import Authorizer
from autoscaler.embedded.apiserver.identity import MASTERS, User
from autoscaler.embedded.apiserver.rbac import ALL, Rule
from autoscaler.embedded.apiserver.resources import Json, Resource, Value
from autoscaler.embedded.apiserver.tokens import DEFAULT_LIFE_S, LONGEST_LIFE_S, SHORTEST_LIFE_S, Tokens

AUDIENCE = "https://kubernetes.default.svc"
_EVERYTHING = (Rule(verbs=(ALL,), groups=(ALL,), resources=(ALL,)), Rule(verbs=(ALL,), urls=(ALL,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews:
    """Answers for one server."""

    authorizer: Authorizer
    tokens: Tokens

    def answer(self, resource: Resource, user: User, body: Value) -> Json:
        """Answer a posted review."""
        spec = _spec(resource.kind, body)
        about: Json = {
            "kind": resource.kind,
            "apiVersion": resource.api_version,
            "metadata": {"creationTimestamp": None},
        }
        match resource:
            case resources.SELF_ACCESS_REVIEWS:
                return about | {"spec": spec, "status": self._access(user, spec)}
            case resources.SELF_RULES_REVIEWS:
                return about | {"spec": spec, "status": self._rules(user, spec)}
            case _:
                return about | {"status": {"userInfo": user.as_json()}}

    def _access(self, user: User, spec: Json) -> Json:
        on_object, on_path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if (on_object is None) == (on_path is None):
            fault = errors.wrong("spec", "", "exactly one of nonResourceAttributes or resourceAttributes is required")
            raise errors.invalid(resources.SELF_ACCESS_REVIEWS, "", [fault])
        texts = {key: value for key, value in (on_object or on_path or {}).items() if isinstance(value, str)}
        names = ("verb", "group", "resource", "subresource", "namespace", "name", "path")
        asked = Attributes(**{"verb": ""} | {name: texts[name] for name in names if name in texts})
        is_allowed, why = self.authorizer.decide(user, asked)
        return {"allowed": is_allowed} | ({"reason": why} if why else {})

    def _rules(self, user: User, spec: Json) -> Json:
        namespace = spec.get("namespace")
        if not isinstance(namespace, str) or not namespace:
            raise errors.bad_request("no namespace on request")
        rules = [grant.rule for grant in self.authorizer.grants(user, namespace) if grant.rule is not None]
        rules = [*_EVERYTHING, *rules] if MASTERS in user.groups else rules
        told = [rule.as_json() for rule in rules]
        return {
            "resourceRules": [rule for rule in told if "resources" in rule],
            "nonResourceRules": [rule for rule in told if "nonResourceURLs" in rule],
            "incomplete": False,
        }

    def issue(self, namespace: str, name: str, body: Value, now_s: float) -> Json:
        """Answer a TokenRequest for a service account."""
        spec = _spec("TokenRequest", body)
        life_s = spec.get("expirationSeconds")
        life_s = DEFAULT_LIFE_S if life_s is None else life_s
        fault = _life_fault(life_s)
        if spec.get("boundObjectRef"):
            fault = errors.forbidden_field("spec.boundObjectRef", "this server binds tokens to service accounts only")
        if fault is not None:
            raise errors.invalid(resources.TOKEN_REQUESTS, name, [fault])
        token = self.tokens.issue(namespace, name, life_s)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": metadata.timestamp(now_s)},
            "spec": {"audiences": spec.get("audiences") or [AUDIENCE], "expirationSeconds": life_s},
            "status": {"token": token.text, "expirationTimestamp": metadata.timestamp(token.expires_s)},
        }


def _life_fault(life_s: Value) -> errors.FieldFault | None:
    if not isinstance(life_s, int) or isinstance(life_s, bool) or life_s < SHORTEST_LIFE_S:
        return errors.wrong("spec.expirationSeconds", life_s, "may not specify a duration less than 10 minutes")
    if life_s > LONGEST_LIFE_S:
        return errors.wrong("spec.expirationSeconds", life_s, "may not specify a duration larger than 2^32 seconds")
    return None


def _spec(kind: str, body: Value) -> Json:
    spec = selectors.at(body, "spec")
    spec = {} if spec is None else spec
    if not isinstance(body, dict) or body.get("kind", kind) != kind or not isinstance(spec, dict):
        raise errors.bad_request(f"the body of the request must be a {kind}")
    for key in ("resourceAttributes", "nonResourceAttributes"):
        if not isinstance(spec.get(key), dict | None):
            raise errors.bad_request(f"{kind} cannot be handled as a {kind}: spec.{key} must be an object")
    return spec
