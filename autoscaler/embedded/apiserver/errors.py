"""What the server refuses, as the API's own Status objects: same codes, same reason words, same sentence shapes.

Clients branch on `reason` and `code`; the official client and kubectl read both, so neither may be invented here.
"""

from dataclasses import dataclass

from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.resources import Json, Resource


class ApiError(Exception):
    """A refusal with the Status object that tells the client about it."""

    def __init__(
        self, code: int, reason: str, message: str, *, details: Json | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s

    def as_status(self) -> Json:
        """Render the body of the answer."""
        status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        status |= {"message": self.message, "reason": self.reason}
        if self.details:
            status["details"] = self.details
        return status | {"code": self.code}


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field that breaks a rule of its kind."""

    field: str
    reason: str  # FieldValueRequired | FieldValueInvalid | FieldValueForbidden | FieldValueNotSupported
    message: str


def required(field: str, why: str = "") -> FieldFault:
    """State that a field must be given."""
    return FieldFault(field, "FieldValueRequired", f"Required value: {why}" if why else "Required value")


def wrong(field: str, value: object, why: str) -> FieldFault:
    """State that a field's value breaks a rule."""
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return FieldFault(field, "FieldValueInvalid", f"Invalid value: {shown}: {why}")


def unsupported(field: str, value: object, allowed: str) -> FieldFault:
    """State that a field takes other words."""
    return FieldFault(field, "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {allowed}')


def forbidden_field(field: str, why: str) -> FieldFault:
    """State that a field may not be set or changed."""
    return FieldFault(field, "FieldValueForbidden", f"Forbidden: {why}")


def _details(resource: Resource, name: str) -> Json:
    return {"name": name} | ({"group": resource.group} if resource.group else {}) | {"kind": resource.plural}


def success(resource: Resource, name: str, uid: str) -> Json:
    """Render the Status that answers a deletion done at once."""
    details = _details(resource, name) | {"uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def created() -> Json:
    """Render the Status that answers a binding or an eviction."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def not_found(resource: Resource, name: str) -> ApiError:
    """Refuse: no object of that name."""
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', details=_details(resource, name))


def no_such_path() -> ApiError:
    """Refuse: no kind is served there."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(resource: Resource, name: str) -> ApiError:
    """Refuse: the name is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_details(resource, name))


def conflict(resource: Resource, name: str, why: str, subresource: str = "") -> ApiError:
    """Refuse: the write rests on a state that is no longer so."""
    what = resource.plural + (f"/{subresource}" if subresource else "")
    what += f".{resource.group}" if resource.group else ""
    message = f'Operation cannot be fulfilled on {what} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(resource, name))


def stale(resource: Resource, name: str) -> ApiError:
    """Refuse: the resourceVersion sent is not the current one."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def invalid(resource: Resource, name: str, faults: list[FieldFault]) -> ApiError:
    """Refuse: well-formed, but against the rules of the kind; every fault is listed."""
    told = [f"{fault.field}: {fault.message}" for fault in faults]
    listed = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    causes = [{"reason": fault.reason, "message": fault.message, "field": fault.field} for fault in faults]
    details = {"name": name} | ({"group": resource.group} if resource.group else {})
    details |= {"kind": resource.kind}
    message = f'{resource.qualified_kind} "{name}" is invalid: {listed}'
    return ApiError(422, "Invalid", message, details=details | {"causes": causes})


def unprocessable_patch(why: str) -> ApiError:
    """Refuse: a JSON patch that does not apply to the object as it is."""
    message = f"the server rejected our request due to an error in our request: {why}"
    return ApiError(422, "Invalid", message, details={})


def bad_request(why: str) -> ApiError:
    """Refuse: the request cannot be understood."""
    return ApiError(400, "BadRequest", why)


def unauthorized() -> ApiError:
    """Refuse: no token, or not the right one."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    """Refuse: the state of the namespace does not allow it."""
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, details=_details(resource, name))


def not_permitted(user: str, asked: Attributes, why: str) -> ApiError:
    """Refuse: no role of the user allows this."""
    if not asked.resource:
        return ApiError(
            403, "Forbidden", f'forbidden: User "{user}" cannot {asked.verb} path "{asked.path}"', details={}
        )
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    told = f'User "{user}" cannot {asked.verb} resource "{asked.combined}" in API group "{asked.group}" {scope}'
    what = f'{asked.qualified} "{asked.name}"' if asked.name else asked.qualified
    message = f"{what} is forbidden: {told}" + (f": {why}" if why else "")
    named = {"name": asked.name} if asked.name else {}
    group = {"group": asked.group} if asked.group else {}
    return ApiError(403, "Forbidden", message, details=named | group | {"kind": asked.resource})


def method_not_allowed() -> ApiError:
    """Refuse: the path exists, the verb does not."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, details={})


def not_acceptable() -> ApiError:
    """Refuse: the client accepts no form this server can write."""
    return ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")


def too_large(limit_bytes: int) -> ApiError:
    """Refuse: the body is over the limit."""
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit_bytes}")


def unsupported_media_type(sent: str, accepted: tuple[str, ...]) -> ApiError:
    """Refuse: the body is in a form this server does not read."""
    message = f"the body of the request was in an unknown format ({sent or 'none named'})"
    return ApiError(415, "UnsupportedMediaType", f"{message} - accepted media types include: {', '.join(accepted)}")


def expired(why: str) -> ApiError:
    """Refuse: the version asked for has left the history."""
    return ApiError(410, "Expired", why)


def version_too_large(asked: int, current: int) -> ApiError:
    """Refuse: the version asked for has not happened yet."""
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, details=details | {"retryAfterSeconds": 1}, retry_after_s=1)


def too_many_requests(why: str, *, cause: str = "", cause_message: str = "") -> ApiError:
    """Refuse for now: a disruption budget does not allow an eviction."""
    details = {"causes": [{"reason": cause, "message": cause_message}]} if cause else {}
    return ApiError(429, "TooManyRequests", why, details=details)


def internal(why: str) -> ApiError:
    """Refuse: the server cannot do what was asked, though it should."""
    return ApiError(500, "InternalError", f"Internal error occurred: {why}")
