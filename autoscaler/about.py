"""What is said of a model and decides nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAbout:
    """What the models file says of a model beside its specification."""

    name: str
    source: str
    """Where its code or weights come from, without secrets of a URL; empty where the file does not say."""
    tenant: str = ""
    """Whose it is; empty for nobody's in particular."""
