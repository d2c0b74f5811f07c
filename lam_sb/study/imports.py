"""What every run imports, for a process that runs are forked from."""

import lam_sb.corpora.pair
import lam_sb.features.store
import lam_sb.run
import lam_sb.training.brain
import lam_sb.training.ensemble
import lam_sb.training.loaders
import lam_sb.training.ready  # noqa: F401
