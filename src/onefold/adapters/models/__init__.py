"""Models in a folder, with what was decided about each."""

from onefold.adapters.models.store import Listed, ModelStore, Pin

__all__ = ["Listed", "ModelStore", "Pin"]
