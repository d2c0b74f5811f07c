"""lam_sb: layer anchoring for cross-lingual speech emotion recognition."""

import os

# Threads that wait for each other sleep; spinning, they keep each other from
# the cores of a busy machine. Read when torch is imported, which comes later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
