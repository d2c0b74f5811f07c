"""The recipe as part of SpeechBrain's own tree."""
