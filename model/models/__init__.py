"""Built-in models with hand-written derivatives; the registry builds them from options."""

from model.models.registry import MODEL_OPTIONS, build_model, parse_options

__all__ = ["MODEL_OPTIONS", "build_model", "parse_options"]
