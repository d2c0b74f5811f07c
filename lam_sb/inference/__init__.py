"""Models that classify other speech than they were tested on."""

from lam_sb.inference.interface import EmotionClassifier

__all__ = ["EmotionClassifier"]
