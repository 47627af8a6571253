"""Features: how raw columns become fids and dense inputs, in training and in serving alike."""

from model.features.categorical import Categorical, MultiValued, Pooling
from model.features.clock import DayOfWeek, HourOfDay
from model.features.cross import Cross
from model.features.layout import FeatureLayout, FidField
from model.features.numeric import Bucketised, Buckets, Numeric, Transform
from model.features.spec import Extracted, Feature, FeatureSpec, FidFeature

__all__ = [
    "Bucketised",
    "Buckets",
    "Categorical",
    "Cross",
    "DayOfWeek",
    "Extracted",
    "Feature",
    "FeatureLayout",
    "FeatureSpec",
    "FidFeature",
    "FidField",
    "HourOfDay",
    "MultiValued",
    "Numeric",
    "Pooling",
    "Transform",
]
